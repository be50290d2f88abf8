# SPDX-License-Identifier: Apache-2.0
"""A judge: run submissions against a test, all at once, and give verdicts. Usage: judge.py ROOTFS INPUT WANTED PROGRAM..."""

import asyncio
import os
import sys

from ociruntime import Options, Result, bundle, make_config, run_async

STATE = "/run/judge"


def verdict(result: Result, wanted: bytes) -> str:
    if result.stdout_lost:
        return "output limit exceeded"
    if result.timed_out:
        return "time limit exceeded"
    if result.oom_killed:
        return "memory limit exceeded"
    if not result.ok:
        return f"runtime error (signal {result.signal}, exit code {result.exit_code})"
    return "accepted" if result.stdout.split() == wanted.split() else "wrong answer"


async def judge(rootfs: str, program: str, given: bytes, wanted: bytes) -> str:
    place, name = "/tmp/submission", os.path.basename(program)
    config = make_config([place], rootfs, memory=64 << 20, pids=16, binds=[(program, place)])
    options = Options(f"judge-{os.getpid()}-{name}")
    made = bundle.made(config)
    result = await run_async(STATE, made, options, stdin=given, capture=True, output_limit=1 << 20, timeout=5)
    return f"{name}: {verdict(result, wanted)}"


async def main(rootfs: str, given: str, wanted: str, *programs: str) -> None:
    waiting = [judge(rootfs, program, given.encode(), wanted.encode()) for program in programs]
    print(*await asyncio.gather(*waiting), sep="\n")


asyncio.run(main(*sys.argv[1:]))
