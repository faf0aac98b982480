#!/usr/bin/env python3
"""Writes one file into a C source, as `const struct span NAME_text`.

usage: embed.py FILE C_FILE NAME
"""

import pathlib
import sys

ROW_BYTES = 24


def main(path, source, name):
    data = pathlib.Path(path).read_bytes()
    rows = [' '.join(f'{byte},' for byte in data[at:at + ROW_BYTES]) for at in range(0, len(data), ROW_BYTES)]
    lines = ['/* Written by gateway/embed.py. */', f'#include "{name}.h"', '',
             'static const char bytes[] = {', *(f'    {row}' for row in rows), '};',
             f'const struct span {name}_text = {{bytes, sizeof(bytes)}};']
    pathlib.Path(source).write_text('\n'.join(lines) + '\n')


main(*sys.argv[1:])
