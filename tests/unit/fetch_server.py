#!/usr/bin/env python3
"""An HTTP server that misbehaves on demand, for test_fetch: its path says how. Ends when its standard input does.

usage: fetch_server.py CERTIFICATE KEY      prints "HTTP_PORT HTTPS_PORT"
"""

import email.utils
import socket
import ssl
import sys
import threading
import time
import urllib.parse

lock = threading.Condition()
hits = {}      # path -> how often asked


def main(certificate, key):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    ports = [listen(None), listen(context)]
    print(*ports, flush=True)
    sys.stdin.read()


def listen(context):
    listener = socket.create_server(('127.0.0.1', 0), backlog=128)
    threading.Thread(target=accept, args=(listener, context), daemon=True).start()
    return listener.getsockname()[1]


def accept(listener, context):
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection, context), daemon=True).start()


def serve(connection, context):
    try:
        if context:
            connection = context.wrap_socket(connection, server_side=True)
        with connection:
            while answer_one(connection):
                pass
    except OSError:
        pass


def answer_one(connection):
    request = b''
    while b'\r\n\r\n' not in request:
        more = connection.recv(65536)
        if not more:
            return False
        request += more
        if request[0] == 0x16:  # TLS at the other port
            return reply(connection, 400) and False
    head, _, body = request.partition(b'\r\n\r\n')
    for line in head.split(b'\r\n'):
        if line.lower().startswith(b'content-length:'):
            while len(body) < int(line.split(b':')[1]):
                body += connection.recv(65536)
    path = head.split(b' ')[1].decode()
    with lock:
        hits[path] = hits.get(path, 0) + 1
        count = hits[path]
    word, *rest = path.lstrip('/').split('/')
    word = word.split('?')[0]
    rest = [urllib.parse.unquote(piece) for piece in rest]
    return answers.get(word, missing)(connection, rest, head + b'\r\n\r\n' + body, count)


def reply(connection, status, body=b'', *headers):
    head = [f'HTTP/1.1 {status} X', f'Content-Length: {len(body)}', *headers]
    connection.sendall('\r\n'.join(head).encode() + b'\r\n\r\n' + body)
    return True


def missing(connection, rest, request, count):
    return reply(connection, 404)


def ok(connection, rest, request, count):
    return reply(connection, 200, b'hello', 'Set-Cookie: a=b; Path=/')


def echo(connection, rest, request, count):
    return reply(connection, 200, request)


def status(connection, rest, request, count):
    return reply(connection, int(rest[0]), b'' if rest[0] == '204' else b'no')


def early(connection, rest, request, count):
    connection.sendall(b'HTTP/1.1 103 Early Hints\r\nRetry-After: 77\r\n\r\n')
    return reply(connection, 503)


def retry(connection, rest, request, count):
    """/retry/STATUS/VALUE: so long as it is asked; VALUE "date+N" is N seconds from now."""
    value = rest[1]
    if value.startswith('date+'):
        value = email.utils.formatdate(time.time() + int(value[5:]), usegmt=True)
    return reply(connection, int(rest[0]), b'later', f'rEtry-after:  {value} ')


def flaky(connection, rest, request, count):
    """/flaky/N/...: 500 for the first N."""
    return reply(connection, 500 if count <= int(rest[0]) else 200, b'made it')


def slow(connection, rest, request, count):
    connection.recv(1)
    return False


def drip(connection, rest, request, count):
    connection.sendall(b'HTTP/1.1 200 X\r\nContent-Length: 60000\r\n\r\n')
    while True:
        connection.sendall(b'x')
        time.sleep(0.01)


def huge(connection, rest, request, count):
    return reply(connection, 200, b'x' * (1 << 20))


def endless(connection, rest, request, count):
    connection.sendall(b'HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n')
    while True:
        connection.sendall(b'1000\r\n' + b'x' * 4096 + b'\r\n')


def endless_head(connection, rest, request, count):
    connection.sendall(b'HTTP/1.1 200 X\r\n')
    while True:
        connection.sendall(b'X-More: ' + b'x' * 1000 + b'\r\n')


def garbage(connection, rest, request, count):
    connection.sendall(b'\x00\xff\xfe this is no HTTP\r\n\r\n')
    return False


def half(connection, rest, request, count):
    connection.sendall(b'HTTP/1.1 200 X\r\nContent-Length: 100\r\n\r\nhalf of it')
    return False


def half_chunk(connection, rest, request, count):
    connection.sendall(b'HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nhalf of it')
    return False


def cut(connection, rest, request, count):
    return False


def redirect(connection, rest, request, count):
    return reply(connection, 302, b'', f'Location: http://{connection.getsockname()[0]}:{connection.getsockname()[1]}/secret')


def barrier(connection, rest, request, count):
    """/barrier/N/...: answers when N are here at one time; those that come later are the next N."""
    mine = -(-count // int(rest[0])) * int(rest[0])  # the last of our N
    with lock:
        lock.notify_all()
        lock.wait_for(lambda: hits['/barrier/' + '/'.join(rest)] >= mine)
    return reply(connection, 200)


def gate(connection, rest, request, count):
    """/gate/NAME: answers when somebody has asked for /open/NAME."""
    with lock:
        lock.wait_for(lambda: '/open/' + rest[0] in hits)
    return reply(connection, 200, b'hello')


def opens(connection, rest, request, count):
    with lock:
        lock.notify_all()
    return reply(connection, 200)


def asked(connection, rest, request, count):
    """/asked/PATH: how often."""
    with lock:
        return reply(connection, 200, str(hits.get('/' + '/'.join(rest), 0)).encode())


answers = {function.__name__: function for function in (
    ok, echo, status, early, retry, flaky, slow, drip, huge, endless, endless_head, garbage, half, half_chunk, cut,
    redirect, barrier, gate, asked)} | {'open': opens}

main(*sys.argv[1:])
