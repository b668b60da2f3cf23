/* What is said to whoever asks for a path; at most SIZE bytes with the end. */
int answer(const char *path, char *text, int size);
