package cli

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/umiak/umiak/run/pty"
	"github.com/umiak/umiak/run/spec"
)

// runOptions are the flags of run. What goes into the spec is in spec, ready for package spec but
// for what depends on the machine (see specOptions).
type runOptions struct {
	fetchOptions
	spec spec.Options

	// the process
	env, envFiles, entrypoint []string
	interactive, rm, init     bool
	tty                       triState
	passwd                    bool
	preserve                  int
	timeout, stopTimeout      time.Duration
	stopSignal                string

	// the run
	name, cidFile, pidFile string
	labels                 map[string]string
	statusFile             string
	report                 reportFlag
	rootfs                 bool
	dryRun, explain        bool
	mode                   string

	deviceArgs    []string
	cpus, cpuTime bool // --cpus, and what it is made of, were given
}

func (o *runOptions) addFlags(f *pflag.FlagSet) {
	f.SortFlags = false                            // they are in groups
	f.Bool("help", false, "help for this command") // -h is the hostname, as docker's
	o.fetchOptions.addFlags(f)
	o.addProcess(f)
	o.addFiles(f)
	o.addIsolation(f)
	o.addLimits(f)
	o.addRun(f)
	refuse(f)
}

func (o *runOptions) addProcess(f *pflag.FlagSet) {
	s := &o.spec
	f.StringArrayVarP(&o.env, "env", "e", nil, "set a variable `K=V`, or pass on the caller's K")
	f.StringArrayVar(&o.envFiles, "env-file", nil, "read variables from a `FILE`")
	f.StringArrayVar(&s.Environment.Unset, "unsetenv", nil, "take the image's variable `K` away")
	f.BoolVar(&s.Environment.UnsetAll, "unsetenv-all", false, "take all of the image's variables away")
	f.BoolVar(&s.Environment.PassAll, "env-host", false, "pass on all of the caller's variables")
	f.BoolVar(&s.Environment.PassProxy, "http-proxy", false, "pass on the caller's proxy variables")
	f.Var(each(func(v string) error { o.entrypoint = []string{v}; return nil }), "entrypoint", "`COMMAND` instead of the image's entrypoint; \"\" for none")
	f.StringVarP(&s.WorkingDir, "workdir", "w", "", "working `DIR` in the container")
	f.StringVarP(&s.User, "user", "u", "", "`USER[:GROUP]` by name or number")
	f.StringArrayVar(&s.GroupAdd, "group-add", nil, "one more `GROUP` for the user, by name or number")
	f.BoolVar(&o.passwd, "passwd", true, "give a user that the image does not know a line in /etc/passwd")
	f.Var(optional(&s.Umask, spec.ParseUmask), "umask", "file mode mask, in `OCTAL` (default 022)")
	f.BoolVarP(&o.interactive, "interactive", "i", true, "pass standard input on; =false gives /dev/null")
	f.VarP(&o.tty, "tty", "t", "give the command a terminal (default: if input and output are terminals)")
	f.Lookup("tty").NoOptDefVal, f.Lookup("tty").DefValue = "true", ""
	f.BoolVar(&o.init, "init", false, "run an init that passes signals on and reaps, and the command beneath it")
	f.Var(each(func(v string) error {
		_, err := spec.ParseSignal(v)
		o.stopSignal = v
		return err
	}), "stop-signal", "`SIGNAL` that asks the command to stop at --timeout (default: the image's, or TERM)")
	o.stopTimeout = 10 * time.Second
	f.Var(parsed(&o.stopTimeout, spec.ParseSeconds), "stop-timeout", "`SECONDS` to wait after that before it is killed (default 10)")
	f.Var(parsed(&o.timeout, spec.ParseSeconds), "timeout", "`SECONDS` after which the command is stopped; the status is 124 then")
	f.IntVar(&o.preserve, "preserve-fds", 0, "pass on `N` descriptors beside the standard ones, from 3")
}

func (o *runOptions) addFiles(f *pflag.FlagSet) {
	s := &o.spec
	f.VarP(appended(&s.Volumes, spec.ParseVolume), "volume", "v", "show `SRC:DST[:ro,…]`, a directory or volume of the host's, inside")
	f.Var(appended(&s.Volumes, spec.ParseMount), "mount", "the same, or tmpfs, in many words: `type=bind,src=…,dst=…`")
	f.Var(appended(&s.Volumes, spec.ParseTmpfs), "tmpfs", "an empty directory in memory at `DIR[:OPTIONS]`")
	f.BoolVar(&s.ReadOnly, "read-only", false, "make the root read-only")
	f.BoolVar(&s.ReadOnlyTmpfs, "read-only-tmpfs", false, "with --read-only, have /run, /tmp and /var/tmp in memory")
	f.Var(parsed(&s.ShmSize, spec.ParseBytes), "shm-size", "`SIZE` of /dev/shm (default 64m)")
	f.Var(each(func(v string) error { o.deviceArgs = append(o.deviceArgs, v); return nil }), "device", "give the host's device `SRC[:DST[:rwm]]`")
	f.Var(parsed(&s.ZoneFile, spec.ParseZone), "tz", "time `ZONE`, as Europe/Rome, or local")
	f.BoolVar(&o.rootfs, "rootfs", false, "IMAGE is a directory to run, as it is; DIR:O runs it under a layer of its own")
	f.BoolVar(&o.rm, "rm", true, "remove the container's own layer at the end; always so")
}

func (o *runOptions) addIsolation(f *pflag.FlagSet) {
	s := &o.spec
	f.StringVarP(&s.Hostname, "hostname", "h", "", "`NAME` of the host inside (default: the run's id)")
	f.StringVar(&s.Domainname, "domainname", "", "NIS domain `NAME` inside")
	f.StringVar(&s.Network, "network", "host", "host, none (only a loopback of its own), or ns:`PATH` of a network namespace")
	f.StringVar(&s.Network, "net", "host", "the same")
	_ = f.MarkHidden("net")
	f.Var(appended(&s.AddHosts, spec.ParseAddHost), "add-host", "one more line for /etc/hosts: `NAME:IP`")
	f.StringArrayVar(&s.DNS.Servers, "dns", nil, "name server `IP`")
	f.StringArrayVar(&s.DNS.Search, "dns-search", nil, "search `DOMAIN`")
	f.StringArrayVar(&s.DNS.Options, "dns-option", nil, "resolver `OPTION`, as resolv.conf(5) has them")
	f.StringArrayVar(&s.DNS.Options, "dns-opt", nil, "the same")
	_ = f.MarkHidden("dns-opt")
	f.StringVar(&s.Namespaces.PID, "pid", "", "`MODE` host shows all of the host's processes")
	f.StringVar(&s.Namespaces.IPC, "ipc", "", "the namespace's `MODE`: private, host or none")
	f.StringVar(&s.Namespaces.UTS, "uts", "", "`MODE` host gives the host's name")
	f.StringVar(&s.Namespaces.Cgroup, "cgroupns", "", "the namespace's `MODE`: private or host")
	f.StringVar(&s.Namespaces.User, "userns", "", "`MODE` host is how it is")
	f.StringArrayVar(&s.CapAdd, "cap-add", nil, "give one more `CAPABILITY`, or ALL")
	f.StringArrayVar(&s.CapDrop, "cap-drop", nil, "take a `CAPABILITY` away, or ALL")
	f.BoolVar(&s.Privileged, "privileged", false, "all capabilities and devices, no filter, nothing hidden: trust the image as you trust root")
	f.Var(each(func(v string) error { return spec.ParseSecurityOpt(v, &s.Security) }), "security-opt", "`OPTION` seccomp=FILE|unconfined, no-new-privileges, mask=PATHS, unmask=PATHS|ALL")
	f.Var(pairs(&s.Sysctls, spec.ParseSysctl), "sysctl", "set `NAME=VALUE`, a switch of the container's namespaces")
}

func (o *runOptions) addLimits(f *pflag.FlagSet) {
	r := &o.spec.Resources
	f.VarP(optional(&r.Memory, spec.ParseBytes), "memory", "m", "limit memory to `SIZE`, as 100m or 2g; swap is off unless --memory-swap")
	f.Var(optional(&r.MemorySwap, spec.ParseSwap), "memory-swap", "limit memory and swap together to `SIZE`; -1 for no limit")
	f.Var(optional(&r.MemoryReservation, spec.ParseBytes), "memory-reservation", "`SIZE` to leave it where memory is short")
	f.Var(optional(&r.MemorySwappiness, parseInt), "memory-swappiness", "swappiness `N`, 0 to 100, on cgroup v1")
	f.BoolVar(&r.OOMKillDisable, "oom-kill-disable", false, "stop instead of kill at the memory limit, on cgroup v1")
	f.Var(noting(&o.cpus, cpusFlag(r)), "cpus", "let it use the time of `N` CPUs, as 1.5")
	f.VarP(optional(&r.CPUShares, parseUint), "cpu-shares", "c", "its share `N` of CPU time where that is short, 1024 being usual")
	f.Var(noting(&o.cpuTime, optional(&r.CPUPeriod, parseUint)), "cpu-period", "with --cpu-quota: `N` microseconds")
	f.Var(noting(&o.cpuTime, optional(&r.CPUQuota, parseInt)), "cpu-quota", "CPU time in each --cpu-period: `N` microseconds")
	f.StringVar(&r.CpusetCpus, "cpuset-cpus", "", "`LIST` of CPUs it may run on, as 0-2,4")
	f.StringVar(&r.CpusetMems, "cpuset-mems", "", "`LIST` of memory nodes it may use, as 0,1")
	f.Var(optional(&r.PidsLimit, parseInt), "pids-limit", "let it have `N` processes and threads; -1 for no limit")
	f.Var(parsed(&r.BlkioWeight, parseWeight), "blkio-weight", "its share `N` of disk time, 10 to 1000")
	f.Var(throttleFlag(&r.BlkioWeightDevice, spec.ParseIOPS), "blkio-weight-device", "the same for one device: `DEVICE:N`")
	f.Var(throttleFlag(&r.DeviceReadBPS, spec.ParseRate), "device-read-bps", "limit reading to `DEVICE:RATE`, as /dev/sda:10mb")
	f.Var(throttleFlag(&r.DeviceWriteBPS, spec.ParseRate), "device-write-bps", "limit writing to `DEVICE:RATE`")
	f.Var(throttleFlag(&r.DeviceReadIOPS, spec.ParseIOPS), "device-read-iops", "limit reads a second to `DEVICE:RATE`, as /dev/sda:1000")
	f.Var(throttleFlag(&r.DeviceWriteIOPS, spec.ParseIOPS), "device-write-iops", "limit writes a second to `DEVICE:RATE`")
	f.StringVar(&o.spec.CgroupParent, "cgroup-parent", "", "make its cgroup beneath `PATH`")
	f.Var(appended(&o.spec.Ulimits, spec.ParseUlimit), "ulimit", "set `NAME=SOFT[:HARD]`, a limit of setrlimit(2)'s, as nofile=1024:4096")
	f.Var(optional(&o.spec.OOMScoreAdj, parseSmall), "oom-score-adj", "`N` from -1000 to 1000: who is killed first when memory runs out")
}

func (o *runOptions) addRun(f *pflag.FlagSet) {
	f.StringVar(&o.name, "name", "", "`NAME` of the run instead of a random id; no two at once have the same")
	f.VarP(pairs(&o.labels, spec.ParseLabel), "label", "l", "label `K=V` for the status file and the spec's annotations")
	f.Var(pairs(&o.spec.Annotations, spec.ParseLabel), "annotation", "annotation `K=V` of the spec")
	f.StringVar(&o.cidFile, "cidfile", "", "write the run's id to a new `FILE`")
	f.StringVar(&o.pidFile, "pidfile", "", "write the first process's id on the host to a `FILE`")
	f.StringVar(&o.statusFile, "status-file", "", "write what happens, as JSON lines, to `FILE|fd:N`")
	f.Var(&o.report, "report", "say at the end what the run used; =`FILE` writes JSON there")
	f.Lookup("report").NoOptDefVal = reportTable
	f.BoolVar(&o.dryRun, "dry-run", false, "print the OCI runtime spec (config.json) instead of running it")
	f.BoolVar(&o.explain, "explain", false, "print what the child would do, a system call a line, instead of doing it")
	f.StringVar(&o.mode, "child", "", "how the child is born: vfork or reexec")
	_ = f.MarkHidden("child")
}

// check refuses combinations that make no sense, before anything is fetched.
func (o *runOptions) check() error {
	switch {
	case !o.rm:
		return hinted(errors.New("--rm=false is not supported"), "umiak keeps no stopped containers: leave it out")
	case o.dryRun && o.explain:
		return errors.New("--dry-run and --explain exclude each other")
	case o.preserve < 0 || o.preserve > 1000:
		return errors.New("--preserve-fds: want a number from 0 to 1000")
	case o.cpus && o.cpuTime:
		return errors.New("--cpus and --cpu-quota or --cpu-period exclude each other: it sets both")
	case o.passesStatus():
		return errors.New("--status-file and --preserve-fds name the same descriptor: the command's can't be umiak's")
	case o.spec.ReadOnlyTmpfs && !o.spec.ReadOnly:
		return hinted(errors.New("--read-only-tmpfs means nothing without --read-only"), "give both")
	}
	return o.fetchOptions.check()
}

// passesStatus says whether a descriptor for umiak's own output is among those to pass on.
func (o *runOptions) passesStatus() bool {
	for _, name := range []string{o.statusFile, o.report.spec} {
		if n, err := parseSmall(strings.TrimPrefix(name, "fd:")); err == nil && strings.HasPrefix(name, "fd:") && n >= 3 && n < 3+o.preserve {
			return true
		}
	}
	return false
}

// addLabels makes annotations of the labels.
func (o *runOptions) addLabels(s *spec.Options) {
	if len(o.labels) == 0 {
		return
	}
	all := map[string]string{}
	for _, from := range []map[string]string{s.Annotations, o.labels} {
		for k, v := range from {
			all[k] = v
		}
	}
	s.Annotations = all
}

// variables are those of --env-file, then of -e; K alone is the caller's.
func (o *runOptions) variables() ([]string, error) {
	var env []string
	for _, file := range o.envFiles {
		b, err := readSmall(file)
		if err != nil {
			return nil, err
		}
		lines, err := spec.ParseEnvFile(b, o.app.LookupEnv)
		if err != nil {
			return nil, err
		}
		env = append(env, lines...)
	}
	for _, e := range o.env {
		if name, _, pair := strings.Cut(e, "="); !pair {
			if value, set := o.app.LookupEnv(name); set {
				e = name + "=" + value
			}
		}
		env = append(env, e)
	}
	terminal := func(e string) bool { return strings.HasPrefix(e, "TERM=") }
	if t := o.app.Getenv("TERM"); o.wantsTTY() && t != "" && !slices.ContainsFunc(env, terminal) {
		env = append([]string{"TERM=" + t}, env...)
	}
	return env, nil
}

func (o *runOptions) wantsTTY() bool {
	if o.tty.set {
		return o.tty.value
	}
	return o.interactive && pty.IsTerminal(o.app.In) && pty.IsTerminal(o.app.Out)
}

// hardNofile is the host's own limit of open files, the highest that a container can be given.
func hardNofile() uint64 {
	var l unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &l) != nil {
		return 0
	}
	return l.Max
}
