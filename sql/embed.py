#!/usr/bin/env python3
"""Writes sql.h and sql.c: every statement of queries/ without its comments, and the changes of sqitch.plan.

usage: embed.py SQL_FOLDER SQL_H SQL_C DEPFILE

An output that would not change is not written again, so a new word in a query does not rebuild all of C.
The depfile names the folder too: a file added to it or taken away counts as a change.
"""

import pathlib
import re
import sys

TOKEN = re.compile(r"""
    (?P<comment> --[^\n]* | /\*.*?\*/ )
  | (?P<quoted> '(?:[^']|'')*' | "(?:[^"]|"")*" | \$(?P<tag>[a-z_]*)\$.*?\$(?P=tag)\$ )
  | \$(?P<parameter>[0-9]+)
""", re.VERBOSE | re.DOTALL)


def main(folder, header, source, depfile):
    queries = [Query(path) for path in sorted((folder / 'queries').glob('*.sql'))]
    plan = folder / 'sqitch.plan'
    changes = [line.split()[0] for line in plan.read_text().splitlines() if line.strip() and line[0] not in '%#@']

    write(header, header_text(queries, changes))
    write(source, source_text(queries, changes))
    inputs = [folder / 'queries', plan, *(query.path for query in queries)]
    depfile.write_text(f'{header} {source}: ' + ' '.join(str(path).replace(' ', '\\ ') for path in inputs) + '\n')


class Query:
    def __init__(self, path):
        self.path = path
        self.name = path.stem
        if not re.fullmatch(r'[a-z][a-z0-9]*(_[a-z0-9]+)+', self.name):
            sys.exit(f'{path}: a query is named <noun>_<verb>.sql, in small letters')
        self.parameters = 0
        text = TOKEN.sub(self.token, path.read_text())
        self.lines = [line.rstrip() for line in text.splitlines() if line.strip()]
        if not self.lines:
            sys.exit(f'{path}: no statement in it')
        if ';' in TOKEN.sub('', text):
            sys.exit(f'{path}: one statement a file, without a semicolon')

    def token(self, match):
        if match['comment']:
            return ''
        if match['parameter']:
            self.parameters = max(self.parameters, int(match['parameter']))
        return match[0]


def header_text(queries, changes):
    constants = ''.join(f'    SQL_{query.name.upper()},\n' for query in queries)
    return f"""\
/* Written by sql/embed.py: the statements of sql/queries and the schema changes of sql/sqitch.plan. */
#ifndef SETTLE_SQL_H
#define SETTLE_SQL_H

enum sql {{
{constants}    NSQL
}};

struct sql_text {{
    const char *name; /* the file's name without .sql; also the name it is prepared under */
    const char *text;
    int nparameters;
}};
extern const struct sql_text sql_texts[NSQL];

/* Every change this build expects to be deployed, in the order of the plan. */
enum {{ NSQL_CHANGES = {len(changes)} }};
extern const char *const sql_changes[NSQL_CHANGES];

#endif
"""


def source_text(queries, changes):
    rows = ''.join(
        f'    [SQL_{query.name.upper()}] = {{"{query.name}",\n'
        + '\n'.join(f'        {quote(line)}' for line in query.lines)
        + f',\n        {query.parameters}}},\n' for query in queries)
    names = ''.join(f'    "{change}",\n' for change in changes)
    return f"""\
/* Written by sql/embed.py. */
#include "sql.h"

#pragma GCC diagnostic ignored "-Woverlength-strings" /* statements may be long */

const struct sql_text sql_texts[NSQL] = {{
{rows}}};

const char *const sql_changes[NSQL_CHANGES] = {{
{names}}};
"""


def quote(line):
    return '"' + line.replace('\\', '\\\\').replace('"', '\\"').replace('??', '?\\?') + '\\n"'


def write(path, text):
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


main(*(pathlib.Path(argument) for argument in sys.argv[1:]))
