"""A list of items, kept in PostgreSQL.

POST /items stores its body as an item: 201 when it is on the database's disk, 503 when that is not known.
GET /items lists them, one a line, in the order in which they came. GET /alive says that this process answers.
The database is found and entered by libpq's own variables (PGHOST, PGUSER, PGPASSWORD).
"""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg2

# A connection a request: it finds the database wherever it has gone. When the database's machine dies, who waits for it learns of that by
# these limits: its end of the connection says nothing any more.
LIMITS = {
    "connect_timeout": 2,  # seconds
    "tcp_user_timeout": 3000,  # milliseconds until what was sent has to be acknowledged
    "keepalives_idle": 1,
    "keepalives_interval": 1,
    "keepalives_count": 2,
    "options": "-c statement_timeout=5000 -c lock_timeout=5000",
}
ITEM_MOST_BYTES = 4096
# The lock lets one of several first requests make the table.
TABLE = """
SELECT pg_advisory_xact_lock(1);
CREATE TABLE IF NOT EXISTS items (id bigserial PRIMARY KEY, name text UNIQUE NOT NULL)
"""


def ask(statement, values=()):
    """Runs a statement in a transaction of its own, and gives its rows once that is on disk."""
    connection = psycopg2.connect(**LIMITS)
    try:
        for may_make in (True, False):
            try:
                with connection, connection.cursor() as cursor:
                    cursor.execute(statement, values)
                    return cursor.fetchall() if cursor.description else []
            except psycopg2.errors.UndefinedTable:
                if not may_make:
                    raise
                with connection, connection.cursor() as cursor:
                    cursor.execute(TABLE)
    finally:
        connection.close()


class Handler(BaseHTTPRequestHandler):
    timeout = 10

    def do_GET(self):
        if self.path == "/alive":
            return self.answer(200, "alive\n")
        if self.path != "/items":
            return self.answer(404, "there is /items\n")
        self.from_database(200, "SELECT name FROM items ORDER BY id")

    def do_POST(self):
        length = self.headers.get("Content-Length", "")
        if self.path != "/items" or not length.isdecimal() or int(length) > ITEM_MOST_BYTES:
            return self.answer(400, f"POST an item of at most {ITEM_MOST_BYTES} bytes to /items\n")
        name = self.rfile.read(int(length)).decode(errors="replace").replace("\0", "").strip()
        # An item that is sent again, because nobody answered, is there once.
        self.from_database(201, "INSERT INTO items (name) VALUES (%s) ON CONFLICT DO NOTHING", (name,))

    def from_database(self, code, statement, values=()):
        try:
            text = "".join(name + "\n" for (name,) in ask(statement, values))
        except psycopg2.Error as error:
            code, text = 503, f"the database does not answer: {error}\n"
        self.answer(code, text)

    def answer(self, code, text):
        body = text.encode()
        self.send_response(code)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *values):
        """One line a request is more than anybody reads."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


Server(("", 8080), Handler).serve_forever()
