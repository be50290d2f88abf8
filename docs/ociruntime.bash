# bash completion for ociruntime
# Made from ociruntime/cli/flags.py by `python3 -m ociruntime.cli.pages completion`; do not edit.
_ociruntime() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} verb="" words index
  local -a root=()
  COMPREPLY=()
  for ((index = 1; index < COMP_CWORD; index++)); do
    case ${COMP_WORDS[index]} in
    --root) root=(--root "${COMP_WORDS[index+1]}"); ((index++)) ;;
    --log|--log-format|--trace|--cgroup-manager|--rootless|--criu) ((index++)) ;;
    -*) ;;
    *) verb=${COMP_WORDS[index]}; break ;;
    esac
  done
  case $previous in
  --bundle|-b|--root) compopt -o dirnames 2>/dev/null; return ;;
  --config|--pid-file|--log|--trace) compopt -o default 2>/dev/null; return ;;
  --log-format) mapfile -t COMPREPLY < <(compgen -W "text json" -- "$current"); return ;;
  --cgroup-manager) mapfile -t COMPREPLY < <(compgen -W "cgroupfs disabled systemd" -- "$current"); return ;;
  esac
  if [[ -z $verb ]]; then
    words="create start state kill delete run exec update ps pause resume events list spec features inspect validate plan doctor gc compare help"
    [[ $current == -* ]] && words="--root --log --log-format --debug --trace --cgroup-manager --systemd-cgroup --rootless --criu --help --version"
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
    return
  fi
  if [[ $current == -* ]]; then
    case $verb in
    create) words="--bundle --config --pid-file --preserve-fds --no-pivot --no-new-keyring --trace --console-socket --pidfd-socket --no-subreaper --help" ;;
    start) words="--trace --help" ;;
    state) words="--help" ;;
    kill) words="--all --regex --help" ;;
    delete) words="--force --regex --help" ;;
    run) words="--bundle --config --pid-file --preserve-fds --no-pivot --no-new-keyring --trace --console-socket --pidfd-socket --detach --keep --report --no-subreaper --help" ;;
    exec) words="--cwd --env --user --additional-gids --process --detach --pid-file --no-new-privs --cap --preserve-fds --cgroup --ignore-paused --tty --console-socket --pidfd-socket --process-label --apparmor --report --trace --help" ;;
    update) words="--resources --blkio-weight --cpu-period --cpu-quota --cpu-burst --cpu-share --cpu-rt-period --cpu-rt-runtime --cpu-idle --cpuset-cpus --cpuset-mems --kernel-memory --kernel-memory-tcp --memory --memory-reservation --memory-swap --pids-limit --l3-cache-schema --mem-bw-schema --help" ;;
    ps) words="--format --help" ;;
    pause) words="--help" ;;
    resume) words="--help" ;;
    events) words="--interval --stats --help" ;;
    list) words="--format --quiet --help" ;;
    spec) words="--bundle --rootless --preset --help" ;;
    features) words="--help" ;;
    inspect) words="--help" ;;
    validate) words="--format --help" ;;
    plan) words="--format --help" ;;
    doctor) words="--format --help" ;;
    gc) words="--help" ;;
    compare) words="--with --format --help" ;;
    help) words="--help" ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
    return
  fi
  case $verb in
  start|state|kill|delete|exec|update|ps|pause|resume|events|inspect) words=$(ociruntime "${root[@]}" list -q 2>/dev/null); mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current") ;;
  validate|plan) compopt -o default 2>/dev/null ;;
  esac
}
complete -F _ociruntime ociruntime
