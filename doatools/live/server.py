"""The live view and its tracks, over HTTP, WebSocket and TCP; aiohttp does the protocols.

    GET /          the page
    GET /view      WebSocket: what the page shows; first a welcome with the last minute, then one message per frame
    GET /tracks    WebSocket: one JSON message per frame (docs/live.md)
    TCP            the same messages, one line each, on a port of their own

Who may connect: by default this machine alone. A page of another site that a browser here has open is refused by its
Origin, and one whose name was made to point here (DNS rebinding) by its Host. Every reader has a bounded mailbox of its
own, from which the oldest messages are dropped where the reader does not keep up, so that it delays no other one.
"""

import asyncio
import contextlib
import errno
import ipaddress
import json
import socket
import threading
from collections import deque
from pathlib import Path
from urllib.parse import urlsplit

from doatools.errors import UserError
from doatools.live.feed import LEVEL_DB, Latencies, message_lines
from doatools.report import recording_page

PAGE = Path(recording_page.__file__).with_name("live_page.html")
LOOPBACK = "127.0.0.1"
HISTORY_S = 60.0  # of messages that a new viewer is given
MAILBOX = 100  # messages, ten seconds of them
READERS = 64  # at once
HEARTBEAT_S = 15.0  # a viewer that does not answer for half as long again is disconnected
WRITE_S = 30.0  # the same of a TCP connection that takes nothing
LAST_S = 2.0  # in which readers are given their last messages


def import_aiohttp():
    """The library; UserError where it is missing."""
    try:
        import aiohttp.web
    except ImportError:
        raise UserError("the live view takes one more package: pip install aiohttp") from None
    return aiohttp


def listen(host, port, option="--port"):
    """A listening socket; UserError where that cannot be."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror:
        raise UserError(f"--host {host}: no such address") from None
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen()
    except OSError as error:
        listener.close()
        what = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
        raise UserError(f"port {port} of {host} {what}; choose another one by {option}, or {option} 0 for any"
                        ) from None
    return listener


def is_loopback(listener):
    return ipaddress.ip_address(listener.getsockname()[0]).is_loopback


def allowed_host(header, names):
    """Whether a Host header may be answered: an address, or one of the names that this machine is known by.

    A name that an attacker's DNS server makes point here is neither.
    """
    try:
        name = urlsplit(f"//{header or ''}").hostname or ""
    except ValueError:
        return False
    with contextlib.suppress(ValueError):
        return bool(ipaddress.ip_address(name))
    return name in names


class Mailbox:
    """The messages that one reader has not read yet; the oldest are dropped where there are more than MAILBOX."""

    def __init__(self):
        self._messages, self._ready, self._closed = deque(maxlen=MAILBOX), asyncio.Event(), False

    def put(self, text):
        self._messages.append(text)
        self._ready.set()

    def close(self):
        """Nothing more will come."""
        self._closed = True
        self._ready.set()

    async def get(self):
        """The next message, or None at the end."""
        while not self._messages:
            if self._closed:
                return None
            self._ready.clear()
            await self._ready.wait()
        return self._messages.popleft()


class LiveServer:
    """Gives every Frame of ``frames`` to all readers.

    Parameters
    ----------
    listeners : (listening socket of HTTP, that of TCP or None)
    about : dict, what the page is told first: title, summary, frame_s, bands_hz, latency_s, first_s, notes
    frames : iterator of Frames; it runs in a thread
    host : the name given to --host, by which this machine may be addressed
    """

    def __init__(self, listeners, about, frames, host=LOOPBACK):
        self._listeners, self._frames = listeners, frames
        self._about = about | {"level_db": LEVEL_DB}
        self._hop_s = about["frame_s"]
        self._names = {"localhost", host.lower()}
        if not is_loopback(listeners[0]):
            name = socket.gethostname().lower()
            self._names |= {name, f"{name}.local", socket.getfqdn().lower()}
        self._history = deque(maxlen=round(HISTORY_S / self._hop_s))
        self._viewers, self._programs = set(), set()
        self._tasks = set()
        self.latencies = Latencies(round(about["first_s"] / self._hop_s))
        self._stop = threading.Event()
        template = recording_page.template(PAGE)
        self._page, self._policy = template, recording_page.policy(template, "{connect}") + "; frame-ancestors 'none'"

    @property
    def loopback(self):
        """Whether this machine alone can connect."""
        return all(is_loopback(listener) for listener in self._listeners if listener)

    def addresses(self):
        """{what: where it is}"""
        def place(listener):
            host, port = listener.getsockname()[:2]
            host = "127.0.0.1" if host == "0.0.0.0" else "::1" if host == "::" else host
            return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        http, lines = self._listeners
        found = {"view": f"http://{place(http)}", "tracks": f"ws://{place(http)}/tracks"}
        return found | ({"tracks, lines over TCP": place(lines)} if lines else {})

    def run(self):
        """Serve until the frames end; KeyboardInterrupt stops earlier. Errors of the frames are raised here."""
        try:
            asyncio.run(self._serve())
        finally:
            self._stop.set()

    async def _serve(self):
        web = import_aiohttp().web
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        threading.Thread(target=self._work, args=(loop, done), daemon=True).start()
        application = web.Application(middlewares=[self._guard(web)])
        application.add_routes([web.get("/", self._get_page), web.get("/view", self._get_view),
                                web.get("/tracks", self._get_tracks)])
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=LAST_S)
        await runner.setup()
        await web.SockSite(runner, self._listeners[0]).start()
        lines = self._listeners[1] and await asyncio.start_server(self._serve_lines, sock=self._listeners[1])
        try:
            await done
            self._close_mailboxes()
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=LAST_S)
        finally:
            if lines:
                lines.close()
            for task in self._tasks:
                task.cancel()
            await runner.cleanup()

    # --- the thread that computes

    def _work(self, loop, done):
        """Publish all frames, then say so, or that it failed."""
        def tell(function, *values):
            with contextlib.suppress(RuntimeError):  # the loop has been closed meanwhile
                loop.call_soon_threadsafe(function, *values)

        def finish(error):
            if done.done():
                return
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)

        error = None
        try:
            for frame in self._frames:
                if self._stop.is_set():
                    return
                self.latencies.add(frame.latency_s)
                tell(self._publish, *message_lines(frame, self._hop_s))
        except Exception as raised:  # handed over to the caller of run
            error = raised
        tell(finish, error)

    def _publish(self, plain, shown):
        self._history.append(shown)
        for mailbox in self._viewers:
            mailbox.put(shown)
        for mailbox in self._programs:
            mailbox.put(plain)

    def _close_mailboxes(self):
        for mailbox in self._viewers | self._programs:
            mailbox.close()

    # --- HTTP

    def _guard(self, web):
        @web.middleware
        async def guard(request, handler):
            host, origin = request.headers.get("Host"), request.headers.get("Origin")
            if not allowed_host(host, self._names):
                raise web.HTTPForbidden(text="This name is not known here; use an address.\n")
            if origin is not None and urlsplit(origin).netloc != host:
                raise web.HTTPForbidden(text="Pages of other sites are refused.\n")
            return await handler(request)
        return guard

    async def _get_page(self, request):
        connect = f"'self' ws://{request.headers['Host']}"
        return import_aiohttp().web.Response(text=self._page, content_type="text/html", headers={
            "Content-Security-Policy": self._policy.replace("{connect}", connect), "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"})

    async def _get_view(self, request):
        return await self._serve_socket(request, self._viewers, welcome=True)

    async def _get_tracks(self, request):
        return await self._serve_socket(request, self._programs)

    async def _serve_socket(self, request, readers, welcome=False):
        web = import_aiohttp().web
        if len(self._viewers | self._programs) >= READERS:
            raise web.HTTPServiceUnavailable(text="Too many readers.\n")
        connection = web.WebSocketResponse(heartbeat=HEARTBEAT_S, compress=False, max_msg_size=1024)
        await connection.prepare(request)
        mailbox = Mailbox()
        first = self._welcome() if welcome else None  # in the same step as the mailbox is added: no frame is lost
        readers.add(mailbox)
        sender = self._task(self._send(connection, mailbox, first))
        try:
            async for _ in connection:
                pass  # nothing is read from viewers
        finally:
            readers.discard(mailbox)
            sender.cancel()
        return connection

    def _welcome(self):
        """JSON of what is known so far."""
        return f'{{"about":{json.dumps(self._about)},"frames":[{",".join(self._history)}]}}'

    async def _send(self, connection, mailbox, first):
        with contextlib.suppress(ConnectionError, RuntimeError):  # the reader has left
            if first:
                await connection.send_str(first)
            while (text := await mailbox.get()) is not None:
                await connection.send_str(text)
            await connection.close(message=b"the sound has ended")

    def _task(self, coroutine):
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # --- TCP

    async def _serve_lines(self, _, writer):
        if len(self._viewers | self._programs) >= READERS:
            writer.close()
            return
        mailbox = Mailbox()
        self._programs.add(mailbox)
        self._tasks.add(asyncio.current_task())
        try:
            while (text := await mailbox.get()) is not None:
                writer.write(text.encode() + b"\n")
                await asyncio.wait_for(writer.drain(), WRITE_S)
        except (ConnectionError, TimeoutError):
            pass  # the reader has left, or takes nothing
        finally:
            self._programs.discard(mailbox)
            self._tasks.discard(asyncio.current_task())
            writer.close()
