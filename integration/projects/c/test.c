#include <stdio.h>
#include <string.h>
#include "answer.h"

static int expect(const char *path, const char *wanted)
{
	char text[100];
	answer(path, text, sizeof text);
	if (strcmp(text, wanted) == 0)
		return 0;
	printf("%s: wanted %s got %s", path, wanted, text);
	return 1;
}

int main(void)
{
	int wrong = expect("/", "hello from C\n") + expect("/x", "no /x\n");
	printf("%d of 2 tests failed\n", wrong);
	return wrong != 0;
}
