/* A web server of one page, for one client at a time. */
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "answer.h"

static void serve(int client)
{
	char request[1024], path[100] = "/", text[200], reply[400];
	long length = 0, more;

	do {
		more = read(client, request + length, sizeof request - 1 - length);
		if (more <= 0)
			return;
		length += more;
		request[length] = 0;
	} while (!strchr(request, '\n'));
	sscanf(request, "GET %99s", path);
	answer(path, text, sizeof text);
	length = snprintf(reply, sizeof reply, "HTTP/1.0 200 OK\r\nContent-Length: %lu\r\n\r\n%s",
			  (unsigned long)strlen(text), text);
	if (write(client, reply, length) != length)
		perror("write");
}

int main(void)
{
	struct sockaddr_in address;
	int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);

	memset(&address, 0, sizeof address);
	address.sin_family = AF_INET;
	address.sin_port = htons(8080);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 10)) {
		perror("cannot listen");
		return 1;
	}
	for (;;) {
		int client = accept(listener, NULL, NULL);
		if (client < 0)
			continue;
		serve(client);
		close(client);
	}
}
