#!/usr/bin/python3
"""A platform that can be asked, in TikTok's shapes. What it says of a post is in the post's name:

    done-* failed-* working-* unknown-*    its status
    garbage-*                              no JSON
    e500-* e401-* e429-* redirect-*        an HTTP status; 429 with Retry-After: 120
    slow-*                                 no answer as long as the other side waits

usage: platform_server.py LOG    Prints its port, then serves until stdin ends. One line "TOKEN POST" a request goes to LOG.
"""
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WORDS = {'done': 'PUBLISH_COMPLETE', 'failed': 'FAILED', 'working': 'PROCESSING_UPLOAD', 'unknown': 'SOMETHING_NEW'}


class Platform(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def do_POST(self):
        body = self.rfile.read(int(self.headers['content-length']))
        post = json.loads(body)['publish_id']
        kind = post.split('-')[0]
        with lock, open(sys.argv[1], 'a', encoding='utf-8') as log:
            log.write(f"{self.headers['authorization']} {post}\n")
        if kind == 'slow':
            over.wait()
        elif kind == 'garbage':
            self.reply(200, b'<html>')
        elif kind == 'redirect':
            self.reply(302, b'', {'location': 'http://127.0.0.1:1/'})
        elif kind[0] == 'e':
            self.reply(int(kind[1:]), b'{}', {'retry-after': '120'} if kind == 'e429' else {})
        else:
            self.reply(200, json.dumps({'error': {'code': 'ok'}, 'data': {
                'status': WORDS[kind], 'fail_reason': 'picture_size_check_failed' if kind == 'failed' else ''}}).encode())

    def reply(self, status, body, headers=()):
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header('content-length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


lock = threading.Lock()
over = threading.Event()
server = ThreadingHTTPServer(('127.0.0.1', 0), Platform)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_address[1], flush=True)
sys.stdin.read()
