package cli

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/umiak/umiak/run/pty"
	"github.com/umiak/umiak/run/spec"
)

// runOptions are the flags of run.
type runOptions struct {
	fetchOptions

	env, entrypoint         []string
	workdir, user, hostname string
	network                 string
	interactive, rm         bool
	tty                     triState
	readOnly                bool
	resources               spec.Resources
	dryRun, explain         bool
	mode                    string
}

// triState is a flag that was set, cleared or left alone.
type triState struct{ set, value bool }

func (t *triState) Set(s string) error {
	v, err := strconv.ParseBool(s)
	*t = triState{true, v}
	return err
}
func (t *triState) String() string { return strconv.FormatBool(t.value) }
func (t *triState) Type() string   { return "bool" }

func (o *runOptions) addFlags(f *pflag.FlagSet) {
	o.fetchOptions.addFlags(f)
	f.StringArrayVarP(&o.env, "env", "e", nil, "set a variable `K=V`, or pass on the caller's K")
	f.Var(&entrypointFlag{&o.entrypoint}, "entrypoint", "`COMMAND` instead of the image's entrypoint; \"\" for none")
	f.StringVarP(&o.workdir, "workdir", "w", "", "working `DIR` in the container")
	f.StringVarP(&o.user, "user", "u", "", "`USER[:GROUP]` by name or number")
	f.StringVar(&o.hostname, "hostname", "", "`NAME` of the host inside (default: the run's id)")
	f.StringVar(&o.network, "network", "host", "host, or none: only a loopback of its own")
	f.BoolVarP(&o.interactive, "interactive", "i", true, "pass standard input on; =false gives /dev/null")
	f.VarP(&o.tty, "tty", "t", "give the command a terminal (default: if input and output are terminals)")
	f.Lookup("tty").NoOptDefVal, f.Lookup("tty").DefValue = "true", ""
	f.BoolVar(&o.rm, "rm", true, "remove the container's own layer at the end; always so")
	f.BoolVar(&o.readOnly, "read-only", false, "make the root read-only")
	o.addLimits(f)
	f.BoolVar(&o.dryRun, "dry-run", false, "print the OCI runtime spec (config.json) instead of running it")
	f.BoolVar(&o.explain, "explain", false, "print what the child would do, a system call a line, instead of doing it")
	f.StringVar(&o.mode, "child", "", "how the child is born: vfork or reexec")
	_ = f.MarkHidden("child")
}

func (o *runOptions) addLimits(f *pflag.FlagSet) {
	r := &o.resources
	f.VarP(parsed(&r.Memory, spec.ParseBytes), "memory", "m", "memory limit, as 100m or 2g `SIZE`; swap is off unless --memory-swap")
	f.Var(parsed(&r.MemorySwap, spec.ParseSwap), "memory-swap", "limit of memory and swap together `SIZE`; -1 for no limit")
	f.Var(&cpusFlag{r, ""}, "cpus", "how many CPUs' time it may use, as 1.5 `N`")
	f.VarP(parsed(&r.CPUShares, parseUint), "cpu-shares", "c", "its share of CPU time where that is short, 1024 being usual `N`")
	f.StringVar(&r.CpusetCpus, "cpuset-cpus", "", "CPUs it may run on, as 0-2,4 `LIST`")
	f.StringVar(&r.CpusetMems, "cpuset-mems", "", "memory nodes it may use, as 0,1 `LIST`")
	f.Var(parsed(&r.PidsLimit, parseInt), "pids-limit", "how many processes and threads it may have `N`; -1 for no limit")
	f.Var(&throttleFlag{&r.DeviceReadBPS, spec.ParseRate}, "device-read-bps", "limit reading from a device, as /dev/sda:10mb `DEVICE:RATE`")
	f.Var(&throttleFlag{&r.DeviceWriteBPS, spec.ParseRate}, "device-write-bps", "limit writing to a device `DEVICE:RATE`")
	f.Var(&throttleFlag{&r.DeviceReadIOPS, spec.ParseIOPS}, "device-read-iops", "limit reads a second, as /dev/sda:1000 `DEVICE:RATE`")
	f.Var(&throttleFlag{&r.DeviceWriteIOPS, spec.ParseIOPS}, "device-write-iops", "limit writes a second `DEVICE:RATE`")
}

// check refuses combinations that make no sense, before anything is fetched.
func (o *runOptions) check() error {
	switch {
	case !o.rm:
		return hinted(errors.New("--rm=false is not supported"), "umiak keeps no stopped containers: leave it out")
	case o.dryRun && o.explain:
		return errors.New("--dry-run and --explain exclude each other")
	case o.network != "host" && o.network != "none":
		return hinted(fmt.Errorf("--network %s is not supported", o.network), "networks are host and none")
	}
	return o.fetchOptions.check()
}

// specOptions translates the flags for package spec.
func (o *runOptions) specOptions() (spec.Options, error) {
	s := spec.Options{
		Hostname: o.hostname, ReadOnly: o.readOnly, WorkingDir: o.workdir, User: o.user, Network: o.network,
		Terminal: o.wantsTTY(), Resources: o.resources, NofileHard: hardNofile(),
	}
	if o.entrypoint != nil {
		s.Entrypoint = &o.entrypoint
	}
	for _, e := range o.env {
		if name, _, pair := strings.Cut(e, "="); !pair {
			value, set := o.app.LookupEnv(name)
			if set {
				e = name + "=" + value
			}
		}
		s.Env = append(s.Env, e)
	}
	if o.wantsTTY() && !slices.ContainsFunc(s.Env, func(e string) bool { return strings.HasPrefix(e, "TERM=") }) {
		if t := o.app.Getenv("TERM"); t != "" {
			s.Env = append([]string{"TERM=" + t}, s.Env...)
		}
	}
	return s, nil
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

// entrypointFlag tells --entrypoint "" from none at all.
type entrypointFlag struct{ to *[]string }

func (e *entrypointFlag) Set(s string) error { *e.to = []string{s}; return nil }
func (e *entrypointFlag) String() string     { return "" }
func (e *entrypointFlag) Type() string       { return "string" }

// valueFlag is a flag that is parsed as it is read, so that the error stands by the flag's name.
type valueFlag[T any] struct {
	to    **T
	parse func(string) (T, error)
	text  string
}

func parsed[T any](to **T, parse func(string) (T, error)) *valueFlag[T] {
	return &valueFlag[T]{to: to, parse: parse}
}

func (v *valueFlag[T]) Set(s string) error {
	x, err := v.parse(s)
	if err == nil {
		*v.to, v.text = &x, s
	}
	return err
}
func (v *valueFlag[T]) String() string { return v.text }
func (v *valueFlag[T]) Type() string   { return "value" }

func parseInt(s string) (int64, error)   { return strconv.ParseInt(s, 10, 64) }
func parseUint(s string) (uint64, error) { return strconv.ParseUint(s, 10, 64) }

type cpusFlag struct {
	to   *spec.Resources
	text string
}

func (c *cpusFlag) Set(s string) error {
	quota, period, err := spec.ParseCPUs(s)
	if err == nil {
		c.to.CPUQuota, c.to.CPUPeriod, c.text = &quota, &period, s
	}
	return err
}
func (c *cpusFlag) String() string { return c.text }
func (c *cpusFlag) Type() string   { return "number" }

// throttleFlag collects device limits; the device's number is looked up as the flag is read.
type throttleFlag struct {
	to    *[]spec.Throttle
	parse func(string) (string, uint64, error)
}

func (t *throttleFlag) Set(s string) error {
	device, rate, err := t.parse(s)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Stat(device, &st); err != nil {
		return fmt.Errorf("%s: %w", device, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return fmt.Errorf("%s is not a block device", device)
	}
	*t.to = append(*t.to, spec.Throttle{Major: int64(unix.Major(st.Rdev)), Minor: int64(unix.Minor(st.Rdev)), Rate: rate})
	return nil
}
func (t *throttleFlag) String() string { return "" }
func (t *throttleFlag) Type() string   { return "rate" }
