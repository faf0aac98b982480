#!/usr/bin/python3
"""A platform that can be asked, in TikTok's shapes. What it says of a post is in the post's name:

    done-* failed-* working-* unknown-*    its status
    garbage-*                              no JSON
    media-* late-*                         not one of those that /one/ is for; else done, or no answer as of slow-*
    e500-* e401-* e429-* ...               an HTTP status; 429 with Retry-After: 120
    redirect-*                             302 to 127.0.0.2, where all is done
    slow-*                                 no answer as long as the other side waits

usage: platform_server.py LOG    Prints its port, then serves until stdin ends. One line "TOKEN POST" a request goes to LOG,
                                 "elsewhere" of a caller of 127.0.0.2.
"""
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WORDS = {'done': 'PUBLISH_COMPLETE', 'media': 'PUBLISH_COMPLETE', 'failed': 'FAILED', 'working': 'PROCESSING_UPLOAD', 'unknown': 'SOMETHING_NEW'}


class Platform(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def do_POST(self):
        body = self.rfile.read(int(self.headers['content-length']))
        post = json.loads(body)['publish_id']
        kind = post.split('-')[0]
        self.log_line(f"{self.headers['authorization']} {post}")
        if kind == 'slow' or (kind == 'late' and self.path != '/one/'):
            over.wait()
        elif kind == 'garbage':
            self.reply(200, b'<html>')
        elif kind == 'redirect':
            self.reply(302, b'', {'location': f'http://127.0.0.2:{server.server_address[1]}/'})
        elif kind in ('media', 'late') and self.path == '/one/':
            self.reply(400, b'{"error": {"code": "not_one"}}')
        elif kind[0] == 'e':
            self.reply(int(kind[1:]), b'{}', {'retry-after': '120'} if kind == 'e429' else {})
        else:
            self.reply(200, json.dumps({'error': {'code': 'ok'}, 'data': {
                'status': WORDS[kind], 'fail_reason': 'picture_size_check_failed' if kind == 'failed' else ''}}).encode())

    def log_line(self, line):
        with lock, open(sys.argv[1], 'a', encoding='utf-8') as log:
            log.write(line + '\n')

    def reply(self, status, body, headers=()):
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header('content-length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Elsewhere(Platform):
    def setup(self):
        super().setup()
        self.log_line('elsewhere')

    def do_POST(self):
        self.rfile.read(int(self.headers.get('content-length', 0)))
        self.reply(200, json.dumps({'error': {'code': 'ok'}, 'data': {'status': WORDS['done']}}).encode())

    do_GET = do_POST


lock = threading.Lock()
over = threading.Event()
server = ThreadingHTTPServer(('127.0.0.1', 0), Platform)
elsewhere = ThreadingHTTPServer(('127.0.0.2', server.server_address[1]), Elsewhere)
for each in (server, elsewhere):
    each.daemon_threads = True
    each.handle_error = lambda *_: None  # callers may be killed
    threading.Thread(target=each.serve_forever, daemon=True).start()
print(server.server_address[1], flush=True)
sys.stdin.read()
