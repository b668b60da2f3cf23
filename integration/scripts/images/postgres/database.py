#!/usr/bin/python3
"""postgres, psql, pg_isready and pg_dump, by the name of the call, on SQLite.

A connection carries one JSON request {"database", "script" or "dump"} and one JSON answer.
"""
import argparse, json, os, signal, socket, socketserver, sqlite3, sys

DATA = "/var/lib/postgresql/data"


def answer(request):
    path = os.path.join(DATA, request["database"] + ".db")
    connection = sqlite3.connect(path, timeout=10, isolation_level=None)
    try:
        if request.get("dump"):
            return {"rows": [[line] for line in connection.iterdump()]}
        rows, statement = [], ""
        for line in request["script"].splitlines():
            statement += line + "\n"
            if sqlite3.complete_statement(statement):
                rows += connection.execute(statement).fetchall()
                statement = ""
        if statement.strip():
            rows += connection.execute(statement).fetchall()
        return {"rows": rows}
    except sqlite3.Error as error:
        return {"error": str(error)}
    finally:
        connection.close()


class Session(socketserver.StreamRequestHandler):
    def handle(self):
        line = self.rfile.readline()
        if line:
            self.wfile.write(json.dumps(answer(json.loads(line))).encode() + b"\n")


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


def postgres():
    server = Server(("", 5432), Session)

    def stop(*_):
        print("LOG:  database system is shut down", file=sys.stderr)
        os._exit(0)

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    print("LOG:  database system is ready to accept connections", file=sys.stderr)
    server.serve_forever()


def ask(host, request):
    with socket.create_connection((host, 5432), timeout=10) as connection:
        connection.sendall(json.dumps(request).encode() + b"\n")
        return json.loads(connection.makefile().readline())


def client(name):
    flags = argparse.ArgumentParser(add_help=False)
    flags.add_argument("-h", dest="host", default="127.0.0.1")
    flags.add_argument("-U")
    flags.add_argument("-d", dest="database", default=os.environ["POSTGRES_DB"])
    flags.add_argument("-q", "-t", "-A", action="store_true")
    flags.add_argument("-c", dest="script")
    flags.add_argument("name", nargs="?")
    flags = flags.parse_args()
    if name == "pg_isready":
        try:
            socket.create_connection((flags.host, 5432), timeout=3).close()
        except OSError:
            sys.exit(2)
        return
    request = {"database": flags.name or flags.database}
    if name == "pg_dump":
        request["dump"] = True
    else:
        request["script"] = flags.script or sys.stdin.read()
    reply = ask(flags.host, request)
    if "error" in reply:
        sys.exit("ERROR:  " + reply["error"])
    for row in reply["rows"]:
        print("|".join(str(column) for column in row))


name = os.path.basename(sys.argv[0])
postgres() if name == "postgres" else client(name)
