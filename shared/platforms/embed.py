#!/usr/bin/env python3
"""Writes the built-in platform descriptors, every *.yaml beside this file, into a C header.

usage: embed.py FOLDER HEADER DEPFILE

The depfile names the folder too: a file added to it or taken away counts as a change.
"""

import pathlib
import sys

ROW_BYTES = 24


def main(folder, header, depfile):
    files = sorted(folder.glob('*.yaml'))
    lines = ['/* Made by shared/platforms/embed.py: do not edit. */', '']
    for number, path in enumerate(files):
        lines += [f'static const char builtin_{number}[] = {{ /* {path.name} */', *rows(path.read_bytes()), '};', '']
    lines += ['static const struct {', '    const char *file;', '    struct span text;', '} builtins[] = {']
    lines += [f'    {{"{path.name}", {{builtin_{number}, sizeof(builtin_{number})}}}},'
              for number, path in enumerate(files)]
    header.write_text('\n'.join([*lines, '};']) + '\n')
    depfile.write_text(f'{header}: ' + ' '.join(str(path).replace(' ', '\\ ') for path in [folder, *files]) + '\n')


def rows(data):
    for at in range(0, len(data), ROW_BYTES):
        yield '    ' + ' '.join(f'{byte},' for byte in data[at:at + ROW_BYTES])


main(*map(pathlib.Path, sys.argv[1:]))
