# fish completion for ociruntime
# Made from ociruntime/cli/flags.py by `python3 -m ociruntime.cli.pages write`; do not edit.

# The flags of a verb, for argparse; without a verb those before it.
function __ociruntime_flags
    switch "$argv[1]"
        case ''
            string join \n root= log= log-format= debug trace= cgroup-manager= systemd-cgroup rootless= criu= h/help v/version
        case create
            string join \n b/bundle= f/config= pid-file= preserve-fds= no-pivot no-new-keyring trace= console-socket= pidfd-socket= no-subreaper h/help
        case start
            string join \n trace= h/help
        case state
            string join \n h/help
        case kill
            string join \n a/all r/regex h/help
        case delete
            string join \n f/force r/regex h/help
        case run
            string join \n b/bundle= f/config= pid-file= preserve-fds= no-pivot no-new-keyring trace= console-socket= pidfd-socket= d/detach keep report= no-subreaper h/help
        case exec
            string join \n cwd= e/env=+ u/user= g/additional-gids=+ p/process= d/detach pid-file= no-new-privs c/cap=+ preserve-fds= cgroup=+ ignore-paused t/tty console-socket= pidfd-socket= process-label= apparmor= report= trace= h/help
        case update
            string join \n r/resources= blkio-weight= cpu-period= cpu-quota= cpu-burst= cpu-share= cpu-rt-period= cpu-rt-runtime= cpu-idle= cpuset-cpus= cpuset-mems= kernel-memory= kernel-memory-tcp= memory= memory-reservation= memory-swap= pids-limit= l3-cache-schema= mem-bw-schema= h/help
        case ps
            string join \n f/format= h/help
        case pause
            string join \n h/help
        case resume
            string join \n h/help
        case events
            string join \n interval= stats h/help
        case list
            string join \n f/format= q/quiet h/help
        case spec
            string join \n b/bundle= rootless preset= h/help
        case features
            string join \n h/help
        case inspect
            string join \n h/help
        case validate
            string join \n f/format= h/help
        case plan
            string join \n f/format= h/help
        case doctor
            string join \n f/format= h/help
        case gc
            string join \n h/help
        case compare
            string join \n with= f/format= h/help
        case help
            string join \n h/help
    end
end

# __ociruntime_at: true before the verb. __ociruntime_at VERB [POSITION ...]: true in the words of this verb, if given only where one
# of these arguments is to come, counted from 1.
function __ociruntime_at
    set -l wanted $argv
    set -l words (commandline -opc) @cursor
    argparse -s (__ociruntime_flags) -- $words[2..] 2>/dev/null
    or return
    if not set -q argv[1]; or test "$argv[1]" = @cursor
        not set -q wanted[1]
        return
    end
    set -l verb $argv[1]
    test "$verb" = "$wanted[1]"
    or return
    set -q wanted[2]
    or return 0
    argparse (__ociruntime_flags $verb) -- $argv[2..] 2>/dev/null
    or return
    contains (count (string match -v @cursor -- $argv) x) $wanted[2..]
end

# The containers' ids.
function __ociruntime_ids
    set -l words (commandline -opc)
    argparse -s (__ociruntime_flags) -- $words[2..] 2>/dev/null
    set -q _flag_root
    and set -l root --root $_flag_root
    $words[1] $root list -q 2>/dev/null
end

complete -c ociruntime -f
complete -c ociruntime -n '__ociruntime_at' -l root -x -a '(__fish_complete_directories)' -d "keep the containers' state in DIR"
complete -c ociruntime -n '__ociruntime_at' -l log -r -F -d 'also append errors and warnings to FILE'
complete -c ociruntime -n '__ociruntime_at' -l log-format -x -a 'text json' -d 'format of log lines (default text)'
complete -c ociruntime -n '__ociruntime_at' -l debug -d 'log more, and show the traceback of an internal error'
complete -c ociruntime -n '__ociruntime_at' -l trace -r -F -d 'create, start, run, exec: write the start and end of every step to FILE (Chrome trace JSON; a page if FILE ends with .html)'
complete -c ociruntime -n '__ociruntime_at' -l cgroup-manager -x -a 'cgroupfs disabled systemd' -d 'how cgroups are managed (default cgroupfs)'
complete -c ociruntime -n '__ociruntime_at' -l systemd-cgroup -d 'the same as --cgroup-manager systemd: a scope unit for each container'
complete -c ociruntime -n '__ociruntime_at' -l rootless -x -a 'auto false true' -d "go on without the cgroups that may not be made (default auto: unless the caller is the host's root)"
complete -c ociruntime -n '__ociruntime_at' -l criu -r -F -d 'path of the criu program'
complete -c ociruntime -n '__ociruntime_at' -s h -l help -d 'show this help'
complete -c ociruntime -n '__ociruntime_at' -s v -l version -d 'show the version of the runtime and of the specification'

complete -c ociruntime -n '__ociruntime_at' -a create -d 'create a container from a bundle; its program waits for start'
complete -c ociruntime -n '__ociruntime_at' -a start -d 'run the program of a created container'
complete -c ociruntime -n '__ociruntime_at' -a state -d 'print the state of a container as JSON'
complete -c ociruntime -n '__ociruntime_at' -a kill -d "send a signal (default: the image's stop signal, or TERM) to the container's init"
complete -c ociruntime -n '__ociruntime_at' -a delete -d 'remove a stopped container and everything that create made for it'
complete -c ociruntime -n '__ociruntime_at' -a run -d "create, start, wait, delete; exits with the program's exit status"
complete -c ociruntime -n '__ociruntime_at' -a exec -d "run another program in a container; exits with that program's exit status"
complete -c ociruntime -n '__ociruntime_at' -a update -d 'change the resource limits of a container'
complete -c ociruntime -n '__ociruntime_at' -a ps -d 'list the processes of a container'
complete -c ociruntime -n '__ociruntime_at' -a pause -d 'freeze every process of a container'
complete -c ociruntime -n '__ociruntime_at' -a resume -d 'resume every process of a paused container'
complete -c ociruntime -n '__ociruntime_at' -a events -d 'print statistics and out-of-memory events of a container'
complete -c ociruntime -n '__ociruntime_at' -a list -d 'list the containers below --root'
complete -c ociruntime -n '__ociruntime_at' -a spec -d 'write a config.json to start from'
complete -c ociruntime -n '__ociruntime_at' -a features -d 'print what this runtime supports, as JSON'
complete -c ociruntime -n '__ociruntime_at' -a inspect -d 'print everything that is known of a container, as JSON'
complete -c ociruntime -n '__ociruntime_at' -a validate -d 'print everything that is wrong with a config.json'
complete -c ociruntime -n '__ociruntime_at' -a plan -d 'print what create and start would do, step by step'
complete -c ociruntime -n '__ociruntime_at' -a doctor -d 'try what a container (or this one) needs on this host, and say what is missing'
complete -c ociruntime -n '__ociruntime_at' -a gc -d 'clean up what a killed runtime left half done'
complete -c ociruntime -n '__ociruntime_at' -a compare -d 'run a bundle under several runtimes and print what differs inside'
complete -c ociruntime -n '__ociruntime_at' -a help -d 'show the help of the command or of a verb'

# create
complete -c ociruntime -n '__ociruntime_at create' -s b -l bundle -x -a '(__fish_complete_directories)' -d "the bundle's directory (default: the current one)"
complete -c ociruntime -n '__ociruntime_at create' -s f -l config -r -F -d "read this file instead of the bundle's config.json"
complete -c ociruntime -n '__ociruntime_at create' -l pid-file -r -F -d "write the process id of the container's init to FILE"
complete -c ociruntime -n '__ociruntime_at create' -l preserve-fds -x -d 'pass N additional descriptors, starting at 3, to the container'
complete -c ociruntime -n '__ociruntime_at create' -l no-pivot -d 'move the root mount instead of calling pivot_root'
complete -c ociruntime -n '__ociruntime_at create' -l no-new-keyring -d "keep the caller's session keyring"
complete -c ociruntime -n '__ociruntime_at create' -l trace -r -F -d 'the same as the global --trace'
complete -c ociruntime -n '__ociruntime_at create' -l console-socket -r -F -d 'send the terminal to this socket'
complete -c ociruntime -n '__ociruntime_at create' -l pidfd-socket -r -F -d 'send a pidfd of init to this socket'
complete -c ociruntime -n '__ociruntime_at create' -l no-subreaper -d 'do not become a subreaper'
complete -c ociruntime -n '__ociruntime_at create' -s h -l help -d 'show this help'

# start
complete -c ociruntime -n '__ociruntime_at start' -l trace -r -F -d 'the same as the global --trace'
complete -c ociruntime -n '__ociruntime_at start' -s h -l help -d 'show this help'
complete -c ociruntime -n '__ociruntime_at start 1' -a '(__ociruntime_ids)'

# state
complete -c ociruntime -n '__ociruntime_at state' -s h -l help -d 'show this help'
complete -c ociruntime -n '__ociruntime_at state 1' -a '(__ociruntime_ids)'

# kill
complete -c ociruntime -n '__ociruntime_at kill' -s a -l all -d 'signal every process in the container'
complete -c ociruntime -n '__ociruntime_at kill' -s r -l regex -d 'ID is a regular expression: act on every container whose id it matches'
complete -c ociruntime -n '__ociruntime_at kill' -s h -l help -d 'show this help'
complete -c ociruntime -n '__ociruntime_at kill 1' -a '(__ociruntime_ids)'
complete -c ociruntime -n '__ociruntime_at kill 2' -a 'TERM KILL INT HUP QUIT USR1 USR2 STOP CONT WINCH ABRT ALRM CHLD PIPE'

# delete
complete -c ociruntime -n '__ociruntime_at delete' -s f -l force -d 'kill the container first; an unknown id is not an error'
complete -c ociruntime -n '__ociruntime_at delete' -s r -l regex -d 'ID is a regular expression: act on every container whose id it matches'
complete -c ociruntime -n '__ociruntime_at delete' -s h -l help -d 'show this help'
complete -c ociruntime -n '__ociruntime_at delete 1' -a '(__ociruntime_ids)'

# run
complete -c ociruntime -n '__ociruntime_at run' -s b -l bundle -x -a '(__fish_complete_directories)' -d "the bundle's directory (default: the current one)"
complete -c ociruntime -n '__ociruntime_at run' -s f -l config -r -F -d "read this file instead of the bundle's config.json"
complete -c ociruntime -n '__ociruntime_at run' -l pid-file -r -F -d "write the process id of the container's init to FILE"
complete -c ociruntime -n '__ociruntime_at run' -l preserve-fds -x -d 'pass N additional descriptors, starting at 3, to the container'
complete -c ociruntime -n '__ociruntime_at run' -l no-pivot -d 'move the root mount instead of calling pivot_root'
complete -c ociruntime -n '__ociruntime_at run' -l no-new-keyring -d "keep the caller's session keyring"
complete -c ociruntime -n '__ociruntime_at run' -l trace -r -F -d 'the same as the global --trace'
complete -c ociruntime -n '__ociruntime_at run' -l console-socket -r -F -d 'send the terminal to this socket'
complete -c ociruntime -n '__ociruntime_at run' -l pidfd-socket -r -F -d 'send a pidfd of init to this socket'
complete -c ociruntime -n '__ociruntime_at run' -s d -l detach -d 'return once the program runs'
complete -c ociruntime -n '__ociruntime_at run' -l keep -d 'do not delete the container when its program ends'
complete -c ociruntime -n '__ociruntime_at run' -l report -r -F -d 'write how the program ended, and what it used, to FILE (JSON)'
complete -c ociruntime -n '__ociruntime_at run' -l no-subreaper -d 'do not become a subreaper'
complete -c ociruntime -n '__ociruntime_at run' -s h -l help -d 'show this help'

# exec
complete -c ociruntime -n '__ociruntime_at exec 1 2' -l cwd -x -d 'working directory in the container'
complete -c ociruntime -n '__ociruntime_at exec 1 2' -s e -l env -x -d 'add to the environment; may be repeated'
complete -c ociruntime -n '__ociruntime_at exec 1 2' -s u -l user -x -d "user and group of the process, decimal; without GID the container's group is kept"
complete -c ociruntime -n '__ociruntime_at exec 1 2' -s g -l additional-gids -x -d 'add a supplementary group; may be repeated'
complete -c ociruntime -n '__ociruntime_at exec 1 2' -s p -l process -r -F -d 'read the whole process object from FILE, instead of naming a program'
complete -c ociruntime -n '__ociruntime_at exec 1 2' -s d -l detach -d 'return once the program runs'
complete -c ociruntime -n '__ociruntime_at exec 1 2' -l pid-file -r -F -d 'write the process id to FILE'
complete -c ociruntime -n '__ociruntime_at exec 1 2' -l no-new-privs -d 'set no_new_privs'
complete -c ociruntime -n '__ociruntime_at exec 1 2' -s c -l cap -x -a 'CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_KILL CAP_SETGID CAP_SETUID CAP_SETPCAP CAP_LINUX_IMMUTABLE CAP_NET_BIND_SERVICE CAP_NET_BROADCAST CAP_NET_ADMIN CAP_NET_RAW CAP_IPC_LOCK CAP_IPC_OWNER CAP_SYS_MODULE CAP_SYS_RAWIO CAP_SYS_CHROOT CAP_SYS_PTRACE CAP_SYS_PACCT CAP_SYS_ADMIN CAP_SYS_BOOT CAP_SYS_NICE CAP_SYS_RESOURCE CAP_SYS_TIME CAP_SYS_TTY_CONFIG CAP_MKNOD CAP_LEASE CAP_AUDIT_WRITE CAP_AUDIT_CONTROL CAP_SETFCAP CAP_MAC_OVERRIDE CAP_MAC_ADMIN CAP_SYSLOG CAP_WAKE_ALARM CAP_BLOCK_SUSPEND CAP_AUDIT_READ CAP_PERFMON CAP_BPF CAP_CHECKPOINT_RESTORE' -d 'add a capability (never to the inheritable set); may be repeated'
complete -c ociruntime -n '__ociruntime_at exec 1 2' -l preserve-fds -x -d 'pass N additional descriptors, starting at 3'
complete -c ociruntime -n '__ociruntime_at exec 1 2' -l cgroup -x -d "run in this cgroup below the container's; cgroup v1: CONTROLLER[,CONTROLLER]:PATH, may be repeated"
complete -c ociruntime -n '__ociruntime_at exec 1 2' -l ignore-paused -d 'in a paused container, wait until it is resumed instead of failing'
complete -c ociruntime -n '__ociruntime_at exec 1 2' -s t -l tty -d 'give the process a terminal'
complete -c ociruntime -n '__ociruntime_at exec 1 2' -l console-socket -r -F -d 'with --detach: send the terminal to this socket'
complete -c ociruntime -n '__ociruntime_at exec 1 2' -l pidfd-socket -r -F -d 'send a pidfd of the process to this socket'
complete -c ociruntime -n '__ociruntime_at exec 1 2' -l process-label -x -d 'SELinux label of the process'
complete -c ociruntime -n '__ociruntime_at exec 1 2' -l apparmor -x -d 'AppArmor profile of the process'
complete -c ociruntime -n '__ociruntime_at exec 1 2' -l report -r -F -d 'write how the program ended, and what it used, to FILE (JSON)'
complete -c ociruntime -n '__ociruntime_at exec 1 2' -l trace -r -F -d 'the same as the global --trace'
complete -c ociruntime -n '__ociruntime_at exec 1 2' -s h -l help -d 'show this help'
complete -c ociruntime -n '__ociruntime_at exec 1' -a '(__ociruntime_ids)'

# update
complete -c ociruntime -n '__ociruntime_at update' -s r -l resources -r -F -d 'read the limits from FILE (- for stdin), a resources object as in config.json; other flags then have no effect'
complete -c ociruntime -n '__ociruntime_at update' -l blkio-weight -x -d 'block I/O weight, 10 to 1000'
complete -c ociruntime -n '__ociruntime_at update' -l cpu-period -x -d 'CPU period, microseconds'
complete -c ociruntime -n '__ociruntime_at update' -l cpu-quota -x -d 'CPU time per period, microseconds; -1 means no limit'
complete -c ociruntime -n '__ociruntime_at update' -l cpu-burst -x -d 'CPU time that may be saved up, microseconds'
complete -c ociruntime -n '__ociruntime_at update' -l cpu-share -x -d 'relative CPU weight'
complete -c ociruntime -n '__ociruntime_at update' -l cpu-rt-period -x -d 'real-time CPU period, microseconds'
complete -c ociruntime -n '__ociruntime_at update' -l cpu-rt-runtime -x -d 'real-time CPU time per period, microseconds'
complete -c ociruntime -n '__ociruntime_at update' -l cpu-idle -x -a '0 1' -d '1: run only when the CPU is otherwise idle'
complete -c ociruntime -n '__ociruntime_at update' -l cpuset-cpus -x -d 'CPUs to use'
complete -c ociruntime -n '__ociruntime_at update' -l cpuset-mems -x -d 'memory nodes to use'
complete -c ociruntime -n '__ociruntime_at update' -l kernel-memory -x -d 'kernel memory limit (cgroup v1; obsolete, new kernels ignore it)'
complete -c ociruntime -n '__ociruntime_at update' -l kernel-memory-tcp -x -d 'kernel TCP memory limit (cgroup v1; obsolete)'
complete -c ociruntime -n '__ociruntime_at update' -l memory -x -d 'memory limit, in bytes or with a unit as in 10M or 1g; -1 means no limit'
complete -c ociruntime -n '__ociruntime_at update' -l memory-reservation -x -d 'soft memory limit'
complete -c ociruntime -n '__ociruntime_at update' -l memory-swap -x -d 'limit for memory and swap together'
complete -c ociruntime -n '__ociruntime_at update' -l pids-limit -x -d 'maximum number of tasks; -1 means no limit'
complete -c ociruntime -n '__ociruntime_at update' -l l3-cache-schema -x -d 'Intel RDT cache schema, as in L3:0=ff'
complete -c ociruntime -n '__ociruntime_at update' -l mem-bw-schema -x -d 'Intel RDT memory bandwidth schema, as in MB:0=50'
complete -c ociruntime -n '__ociruntime_at update' -s h -l help -d 'show this help'
complete -c ociruntime -n '__ociruntime_at update 1' -a '(__ociruntime_ids)'

# ps
complete -c ociruntime -n '__ociruntime_at ps 1' -s f -l format -x -a 'table json' -d 'output format (default table)'
complete -c ociruntime -n '__ociruntime_at ps 1' -s h -l help -d 'show this help'
complete -c ociruntime -n '__ociruntime_at ps 1' -a '(__ociruntime_ids)'

# pause
complete -c ociruntime -n '__ociruntime_at pause' -s h -l help -d 'show this help'
complete -c ociruntime -n '__ociruntime_at pause 1' -a '(__ociruntime_ids)'

# resume
complete -c ociruntime -n '__ociruntime_at resume' -s h -l help -d 'show this help'
complete -c ociruntime -n '__ociruntime_at resume 1' -a '(__ociruntime_ids)'

# events
complete -c ociruntime -n '__ociruntime_at events' -l interval -x -d 'time between reports (default 5s)'
complete -c ociruntime -n '__ociruntime_at events' -l stats -d 'print the statistics once and exit'
complete -c ociruntime -n '__ociruntime_at events' -s h -l help -d 'show this help'
complete -c ociruntime -n '__ociruntime_at events 1' -a '(__ociruntime_ids)'

# list
complete -c ociruntime -n '__ociruntime_at list' -s f -l format -x -a 'table json' -d 'output format (default table)'
complete -c ociruntime -n '__ociruntime_at list' -s q -l quiet -d 'print only the ids'
complete -c ociruntime -n '__ociruntime_at list' -s h -l help -d 'show this help'

# spec
complete -c ociruntime -n '__ociruntime_at spec' -s b -l bundle -x -a '(__fish_complete_directories)' -d 'directory for config.json (default: the current one)'
complete -c ociruntime -n '__ociruntime_at spec' -l rootless -d 'write a config for the user who calls it'
complete -c ociruntime -n '__ociruntime_at spec' -l preset -x -a 'untrusted trusted' -d 'write the config that the library makes for such a program (docs/library.md)'
complete -c ociruntime -n '__ociruntime_at spec' -s h -l help -d 'show this help'

# features
complete -c ociruntime -n '__ociruntime_at features' -s h -l help -d 'show this help'

# inspect
complete -c ociruntime -n '__ociruntime_at inspect' -s h -l help -d 'show this help'
complete -c ociruntime -n '__ociruntime_at inspect 1' -a '(__ociruntime_ids)'

# validate
complete -c ociruntime -n '__ociruntime_at validate' -s f -l format -x -a 'text json' -d 'output format (default text)'
complete -c ociruntime -n '__ociruntime_at validate' -s h -l help -d 'show this help'
complete -c ociruntime -n '__ociruntime_at validate 1' -F

# plan
complete -c ociruntime -n '__ociruntime_at plan' -s f -l format -x -a 'text json html' -d 'output format (default text); html is a page to look at'
complete -c ociruntime -n '__ociruntime_at plan' -s h -l help -d 'show this help'
complete -c ociruntime -n '__ociruntime_at plan 1' -F

# doctor
complete -c ociruntime -n '__ociruntime_at doctor' -s f -l format -x -a 'text json' -d 'output format (default text)'
complete -c ociruntime -n '__ociruntime_at doctor' -s h -l help -d 'show this help'
complete -c ociruntime -n '__ociruntime_at doctor 1' -F

# gc
complete -c ociruntime -n '__ociruntime_at gc' -s h -l help -d 'show this help'

# compare
complete -c ociruntime -n '__ociruntime_at compare' -l with -x -a 'runc crun runc,crun' -d 'the other runtimes, separated by commas (default runc,crun)'
complete -c ociruntime -n '__ociruntime_at compare' -s f -l format -x -a 'text json' -d 'output format (default text)'
complete -c ociruntime -n '__ociruntime_at compare' -s h -l help -d 'show this help'
complete -c ociruntime -n '__ociruntime_at compare 1' -F

# help
complete -c ociruntime -n '__ociruntime_at help' -s h -l help -d 'show this help'
complete -c ociruntime -n '__ociruntime_at help 1' -a 'create start state kill delete run exec update ps pause resume events list spec features inspect validate plan doctor gc compare help'
