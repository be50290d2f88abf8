# SPDX-License-Identifier: Apache-2.0
"""How does a command line become a verb's call, and an error an exit code?

    ociruntime [global flags] VERB [flags and arguments]

Verbs are imported on demand: `state` must not pay for what `create` needs. Whatever is wrong becomes one line
on stderr (and in the log) and an exit code; docs/exit-codes.md has the table.
This module must not import the spine, argparse, json, logging or signal, nor a verb at its top.
"""

from __future__ import annotations

import os

from ociruntime.cli import flags
from ociruntime.cli.log import Log, ReaderGone, emit
from ociruntime.errors import EXIT_ERROR, Interrupted, NotSupported, RuntimeFailure, UsageError
from ociruntime.verbs import Settings

EXIT_INTERRUPTED = 130  # 128 + SIGINT
EXIT_BROKEN_PIPE = 141  # 128 + SIGPIPE: the reader of our output went away


def main(argv: list[str]) -> int:
    """Do what the words after the program's name say; returns the exit code, and never raises."""
    _open_standard_streams()
    log = Log()
    verb = ""
    given = flags.Arguments()
    try:
        try:
            rest = flags.parse(argv, flags.GLOBAL, given, stop_at_word=True)
        finally:  # even after a flag that is refused: engines show what is in the log
            log = Log(given.text("log"), given.text("log-format", "text"), given.on("debug"))
        if given.on("version"):
            return version()
        if given.on("help") or not rest:
            return show_help("")
        verb = rest[0]
        return dispatch(verb, rest[1:], settings_of(given, log))
    except RuntimeFailure as failure:
        log.failure(failure, verb or _verb_of(given))
        return failure.exit_code
    except ReaderGone:
        return EXIT_BROKEN_PIPE
    except KeyboardInterrupt:
        log.failure(Interrupted(2), verb)
        return EXIT_INTERRUPTED
    except MemoryError:
        log.failure(
            RuntimeFailure("out of memory", hint="ulimit -v and ulimit -d show this process's limits"), verb
        )
        return EXIT_ERROR
    except Exception as failure:  # noqa: BLE001 - the last line of defence: bad input is never a traceback
        name = type(failure).__name__
        log.tell_error(f"{verb}: internal error: {name}: {failure} (--debug shows where)", {"error": name})
        _show_traceback(log)
        return EXIT_ERROR


def dispatch(verb: str, words: list[str], settings: Settings) -> int:
    """Find the verb, read its flags, import it, call it."""
    verb = {"h": "help"}.get(verb, verb)
    if verb in flags.LATER:
        if any(word in {"-h", "--help", "-help"} for word in words):
            return show_help(verb)
        raise NotSupported("not supported yet")
    if verb not in flags.VERBS:
        raise UsageError(
            "unknown verb", hint=flags.meant(verb, [*flags.VERBS, *flags.LATER], "--help lists the verbs")
        )
    given = flags.Arguments()
    if verb in flags.PROGRAM:
        flags.parse_before_program(words, flags.VERB_FLAGS[verb], given)
    else:
        given.words += flags.parse(words, flags.VERB_FLAGS[verb], given, stop_at_word=verb in flags.FOREIGN)
    if given.on("help"):
        return show_help(verb)
    if verb == "help":
        return show_help(given.words[0] if given.words else "")
    synopsis, least, most, _ = flags.VERBS[verb]
    if len(given.words) < least or len(given.words) > most >= 0:
        wanted, count = synopsis or "no argument", len(given.words)
        plural = "" if count == 1 else "s"
        raise UsageError(f"takes {wanted}, but got {count} argument{plural}", hint="--help shows the usage")
    if settings.log.verbose:
        settings.log.tell_debug(f"{verb}: arguments {given.words}, flags {given.flags}")
    settings.trace = given.text("trace", settings.trace)
    module = __import__(f"ociruntime.verbs.{verb}", fromlist=["run"])
    code: int = module.run(settings, given)
    return code


def _verb_of(given: flags.Arguments) -> str:
    """The verb after global flags, if one of these is refused."""
    return given.rest[0] if given.rest and given.rest[0] in flags.VERBS else ""


def settings_of(given: flags.Arguments, log: Log) -> Settings:
    """The global flags as verbs see them; refuses what this version can't do."""
    systemd = given.on("systemd-cgroup")
    manager = given.text("cgroup-manager", "systemd" if systemd else "cgroupfs")
    if systemd and manager != "systemd":
        raise UsageError(f"flag --systemd-cgroup: --cgroup-manager says {manager}")
    root = given.text("root")
    if root and not root.startswith("/"):
        from ociruntime.host_path import absolute

        root = absolute(root)
    return Settings(
        log=log,
        root=root,
        trace=given.text("trace"),
        cgroup_manager=manager,
        rootless=given.text("rootless", "auto"),
    )


def show_help(verb: str) -> int:
    """Print the help of the command ("") or of a verb."""
    from ociruntime.cli.pages import help_text

    emit(help_text(verb))
    return 0


def version() -> int:
    """The version, in the lines that engines parse; only the first may have the word "version" in it."""
    import sys

    from ociruntime import __version__
    from ociruntime.inspect.features import OCI_VERSION_MAX, libseccomp_version
    from ociruntime.native.full_python import form

    library = libseccomp_version()
    python = ".".join(map(str, sys.version_info[:3]))
    emit(
        f"ociruntime version {__version__}\nspec: {OCI_VERSION_MAX}\n"
        + (f"libseccomp: {library}\n" if library else "")
        + f"python: {python}, in a{'n' * (form[0] == 'i')} {form}\n"
    )
    return 0


def _open_standard_streams() -> None:
    """Put /dev/null where 0, 1 or 2 is closed: else the next file that is opened, state.json or a socket, is stdout."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open("/dev/null", os.O_RDWR), True)  # the lowest that is free: this one


def _show_traceback(log: Log) -> None:
    """With --debug, where the error came from."""
    if log.verbose:
        import sys
        import traceback

        traceback.print_exc(file=sys.stderr)
