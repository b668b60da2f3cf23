"""What is said to whoever asks for a path."""


def answer(path):
    return "hello from Python\n" if path == "/" else f"no {path}\n"
