#!/usr/bin/python3
"""Search Console and Bing in one, for insights. What it does is the first word of the site's name, https://WORD-USER.example/:

    fine                    figures
    e500 e401 e403 e404 e429 ...   an HTTP status
    garbage                 no JSON
    tiny                    a figure smaller than a number can be
    slow                    no answer as long as the other side waits
    crowd                   answers once ten of them are here at one time and no other comes, or none has come for long
    gate                    no answer until there is a file LOG.open
    gate500                 as gate, and then 500
    brief                   answers after a moment
    once                    500 for the first time, then figures

usage: insights_server.py LOG    Prints its port, then serves until stdin ends. One line "SITE TOKEN WITH" a request goes to LOG,
                                 WITH being how many are here at that time, itself included.
"""
import json
import os
import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

TEN = 10
QUIET_S, LONG_S = 0.75, 3


class Platform(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def do_GET(self):
        self.answer({'d': [{'Clicks': 3, 'Impressions': 40}, {'Clicks': 4, 'Impressions': 50}]})

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers['content-length'])))
        assert re.fullmatch(r'\d{4}-\d\d-\d\d', asked['startDate']) and asked['startDate'] < asked['endDate']
        self.answer({'rows': [{'clicks': 7.0, 'impressions': 90.0, 'ctr': 0.08, 'position': 3.5}],
                     'responseAggregationType': 'byProperty'})

    def answer(self, figures):
        site = unquote(re.search(r'https%3A%2F%2F[^&/?]*', self.path)[0])
        word = re.match(r'https://([a-z0-9]+)-', site)[1]
        with lock:
            here[0] += 1
            seen[site] = seen.get(site, 0) + 1
            first = seen[site] == 1
            with open(sys.argv[1], 'a', encoding='utf-8') as log:
                log.write(f"{site} {self.headers['authorization']} {here[0]}\n")
            lock.notify_all()
            if word == 'crowd':
                stay()
            here[0] -= 1  # before the answer: who has it may come again at once
        if word == 'slow':
            over.wait()
        if word == 'brief':
            over.wait(0.3)
        while word in ('gate', 'gate500') and not os.path.exists(sys.argv[1] + '.open'):
            over.wait(0.01)
        if word == 'garbage':
            self.reply(200, b'<html>')
        elif word == 'tiny':
            self.reply(200, b'{"rows":[{"clicks":1,"ctr":1e-20000}],"responseAggregationType":"byProperty"}')
        elif word == 'gate500' or word == 'once' and first:
            self.reply(500, b'{}')
        elif word[0] == 'e' and word[1:].isdigit():
            self.reply(int(word[1:]), b'{}', {'retry-after': '120'} if word == 'e429' else {})
        else:
            self.reply(200, json.dumps(figures).encode())

    def reply(self, status, body, headers=()):
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header('content-length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def stay():
    """Those who are here go together."""
    came[0], came[1] = came[0] + 1, time.monotonic()
    nth = came[0]
    while nth > gone[0]:
        left = came[1] + (QUIET_S if here[0] >= TEN else LONG_S) - time.monotonic()
        if left <= 0 or here[0] > TEN:
            gone[0] = came[0]
            lock.notify_all()
        else:
            lock.wait(left)


lock = threading.Condition()
here, seen = [0], {}
came, gone = [0, 0.0], [0]  # how many, and when the last did; how many of these may go
over = threading.Event()
server = ThreadingHTTPServer(('127.0.0.1', 0), Platform)
server.daemon_threads = True
server.handle_error = lambda *_: None  # callers may be killed
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_address[1], flush=True)
sys.stdin.read()
