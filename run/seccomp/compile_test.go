package seccomp

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

var audits = []uint32{0xc000003e, 0x40000003, 0xc00000b7, 0x40000028, 0x8000000a}

// numbers are those a filter can tell apart, and some of those it should not.
func numbers() []uint32 {
	var all []uint32
	for nr := range uint32(600) {
		all = append(all, nr, nr|x32Bit)
	}
	return append(all, 9999, 0xeffff, 0xf0000, 0xf0001, 0xf0005, 0xf0007, 0x3fffffff, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff)
}

// compare holds a compiled filter against the judge, for every number by every ABI.
func compare(t *testing.T, s *specs.LinuxSeccomp, goarch string, args [][6]uint64) {
	t.Helper()
	p, err := Compile(s, goarch)
	if err != nil {
		t.Fatal(err)
	}
	code, j := insns(p.Filter), newJudge(s, goarch)
	for c := range j.calls(args) {
		got, _, err := execute(code, c)
		if err != nil {
			t.Fatal(err)
		}
		if want := j.answer(c); got != want {
			t.Fatalf("%s: call %d (%#x) of %#x with %#x: %#x, want %#x", goarch, c.nr, c.nr, c.audit, c.args, got, want)
		}
	}
}

// defaultArgs are arguments on both sides of every comparison in docker's profile.
func defaultArgs() [][6]uint64 {
	args := [][6]uint64{{}, {1}, {2}, {^uint64(0)}, {0x7e020000}, {0, 0x7e020000}, {1 << 33}, {0x10000000}, {0x11 | 1<<32}}
	for _, g := range dockerDefault.Syscalls {
		for _, a := range g.Args {
			for _, v := range []uint64{a.Value - 1, a.Value, a.Value + 1, a.Value | 1<<32, a.Value | 1<<63} {
				var x [6]uint64
				x[a.Index] = v
				args = append(args, x)
			}
		}
	}
	return args
}

func TestDefaultFilter(t *testing.T) {
	for _, caps := range [][]string{nil, dockerCaps, append(slices.Clone(dockerCaps), "CAP_SYS_ADMIN"), {"CAP_SYS_PTRACE", "CAP_BPF", "CAP_SYS_NICE"}} {
		for _, goarch := range []string{"amd64", "arm64"} {
			compare(t, Default(caps, goarch), goarch, defaultArgs())
		}
	}
}

// TestDefaultAnswers pins what the issue asks for, in numbers that were looked up by hand.
func TestDefaultAnswers(t *testing.T) {
	const allow, eperm, enosys = 0x7fff0000, 0x50001, 0x50026
	plain, admin := Default(dockerCaps, "amd64"), Default(append(slices.Clone(dockerCaps), "CAP_SYS_ADMIN"), "amd64")
	for _, x := range []struct {
		name string
		s    *specs.LinuxSeccomp
		c    call
		want uint32
	}{
		{"read", plain, call{nr: 0}, allow},
		{"mount", plain, call{nr: 165}, eperm},
		{"mount with CAP_SYS_ADMIN", admin, call{nr: 165}, allow},
		{"ptrace", plain, call{nr: 101}, allow},
		{"keyctl", plain, call{nr: 250}, eperm},
		{"clone", plain, call{nr: 56, args: [6]uint64{17}}, allow},
		{"clone(CLONE_NEWUSER)", plain, call{nr: 56, args: [6]uint64{0x10000000 | 17}}, eperm},
		{"clone(CLONE_NEWUSER) with CAP_SYS_ADMIN", admin, call{nr: 56, args: [6]uint64{0x10000000 | 17}}, allow},
		{"clone3", plain, call{nr: 435}, enosys},
		{"clone3 with CAP_SYS_ADMIN", admin, call{nr: 435}, allow},
		{"socket(AF_UNIX)", plain, call{nr: 41, args: [6]uint64{1}}, allow},
		{"socket(AF_ALG)", plain, call{nr: 41, args: [6]uint64{38}}, eperm},
		{"socket(AF_VSOCK)", plain, call{nr: 41, args: [6]uint64{40}}, eperm},
		{"socket(AF_UNIX + 2^32)", plain, call{nr: 41, args: [6]uint64{1<<32 + 1}}, eperm},
		{"personality(PER_LINUX32)", plain, call{nr: 135, args: [6]uint64{8}}, allow},
		{"personality(ADDR_NO_RANDOMIZE)", plain, call{nr: 135, args: [6]uint64{0x40000}}, eperm},
		{"a newer call", plain, call{nr: 9999}, enosys},
		{"a number taken out by a tracer", plain, call{nr: 0xffffffff}, enosys},
		{"mount of i386", plain, call{nr: 21, audit: 0x40000003}, eperm},
		{"a newer call of i386", plain, call{nr: 9999, audit: 0x40000003}, enosys},
		{"mount of x32", plain, call{nr: 165 | x32Bit}, eperm},
		{"a call of another machine", plain, call{audit: 0x40000028}, badArch},
	} {
		if x.c.audit == 0 {
			x.c.audit = 0xc000003e
		}
		p, err := Compile(x.s, "amd64")
		if err != nil {
			t.Fatal(err)
		}
		if got, _, err := execute(insns(p.Filter), x.c); got != x.want || err != nil {
			t.Errorf("%s: %#x, want %#x (%v)", x.name, got, x.want, err)
		}
	}
}

// A filter is run at every system call: it should be short, and the way through it shorter.
func TestDefaultSize(t *testing.T) {
	for _, goarch := range []string{"amd64", "arm64"} {
		p, err := Compile(Default(dockerCaps, goarch), goarch)
		if err != nil {
			t.Fatal(err)
		}
		most := 0
		for _, audit := range audits {
			for _, nr := range numbers() {
				_, steps, err := execute(insns(p.Filter), call{nr: nr, audit: audit})
				if err != nil {
					t.Fatal(err)
				}
				most = max(most, steps)
			}
		}
		t.Logf("%s: %d instructions, at most %d for a call", goarch, p.Len(), most)
		if p.Len() > 400 || most > 25 {
			t.Errorf("%s: %d instructions, up to %d for a call: it has grown", goarch, p.Len(), most)
		}
	}
}

// random makes profiles that a user would hardly write, with values near each other so that
// rules overlap.
func random(r *rand.Rand) *specs.LinuxSeccomp {
	actions := []specs.LinuxSeccompAction{specs.ActAllow, specs.ActErrno, specs.ActKillProcess, specs.ActTrap, specs.ActLog, specs.ActTrace, specs.ActKill}
	values := []uint64{0, 1, 2, 7, 8, 0xffffffff, 1 << 32, 1<<32 + 1, 5<<32 + 7, 1<<63 + 3, ^uint64(0), ^uint64(0) - 1}
	value := func() uint64 { return values[r.IntN(len(values))] }
	act := func() (specs.LinuxSeccompAction, *uint) {
		a := actions[r.IntN(len(actions))]
		if (a == specs.ActErrno || a == specs.ActTrace) && r.IntN(2) == 0 {
			return a, new(r.UintN(4096))
		}
		return a, nil
	}
	s := &specs.LinuxSeccomp{}
	s.DefaultAction, s.DefaultErrnoRet = act()
	for _, a := range []specs.Arch{specs.ArchX86_64, specs.ArchX86, specs.ArchX32, specs.ArchAARCH64, specs.ArchARM, specs.ArchMIPS} {
		if r.IntN(2) == 0 {
			s.Architectures = append(s.Architectures, a)
		}
	}
	few := r.IntN(len(syscallTable)-20) + 1
	for range r.IntN(60) {
		c := specs.LinuxSyscall{}
		c.Action, c.ErrnoRet = act()
		for range r.IntN(12) {
			c.Names = append(c.Names, syscallTable[few+r.IntN(20)-1].name)
			if r.IntN(8) == 0 {
				c.Names[len(c.Names)-1] = []string{"socket", "socketcall", "semop", "ipc", "send", "shmat", "set_tls", "no_such_call"}[r.IntN(8)]
			}
		}
		for range r.IntN(3) {
			c.Args = append(c.Args, specs.LinuxSeccompArg{Index: r.UintN(3), Value: value(), ValueTwo: value(), Op: operators[r.IntN(len(operators))]})
		}
		s.Syscalls = append(s.Syscalls, c)
	}
	return s
}

func randomArgs(r *rand.Rand) (all [][6]uint64) {
	for range 12 {
		var a [6]uint64
		for i := range a {
			a[i] = []uint64{0, 1, 2, 3, 7, 8, 9, 0xfffffffe, 0xffffffff, 1 << 32, 1<<32 + 1, 1<<32 + 2, 5<<32 + 7, 5<<32 + 8, 1<<63 + 3, ^uint64(0), ^uint64(0) - 1, 0x10001}[r.IntN(18)]
		}
		all = append(all, a)
	}
	return all
}

func TestRandomProfiles(t *testing.T) {
	n := uint64(60)
	if testing.Short() {
		n = 10
	}
	for seed := range n {
		r := rand.New(rand.NewPCG(seed, 3))
		compare(t, random(r), []string{"amd64", "arm64"}[seed%2], randomArgs(r))
	}
}

// FuzzCompile compares few numbers of many profiles.
func FuzzCompile(f *testing.F) {
	for seed := range uint64(8) {
		f.Add(seed, uint32(seed*50), uint64(seed))
	}
	f.Fuzz(func(t *testing.T, seed uint64, nr uint32, value uint64) {
		r := rand.New(rand.NewPCG(seed, 7))
		s := random(r)
		p, err := Compile(s, "amd64")
		if err != nil {
			t.Fatal(err)
		}
		j := newJudge(s, "amd64")
		for _, audit := range audits[:2] {
			for _, a := range append(randomArgs(r), [6]uint64{value, value, value}) {
				c := call{nr, audit, a}
				if got, _, err := execute(insns(p.Filter), c); err != nil || got != j.answer(c) {
					t.Fatalf("%+v: %#x, want %#x (%v)", c, got, j.answer(c), err)
				}
			}
		}
	})
}

// A profile with a long chain of conditions for one call makes jumps of more than 255 instructions.
func TestLongJumps(t *testing.T) {
	s := &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{{Names: []string{"read", "getpid", "kill"}, Action: specs.ActAllow}}}
	for i := range uint64(200) {
		for _, name := range []string{"ioctl", "fcntl", "prctl"} {
			s.Syscalls = append(s.Syscalls, specs.LinuxSyscall{Names: []string{name}, Action: specs.ActTrace, ErrnoRet: new(uint(i)),
				Args: []specs.LinuxSeccompArg{{Index: 1, Value: 0xff, ValueTwo: i, Op: specs.OpMaskedEqual}}})
		}
	}
	var args [][6]uint64
	for i := range uint64(256) {
		args = append(args, [6]uint64{0, i})
	}
	compare(t, s, "amd64", args)
}

func TestCompileRefuses(t *testing.T) {
	rule := func(c specs.LinuxSyscall) *specs.LinuxSeccomp {
		return &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{c}}
	}
	long := rule(specs.LinuxSyscall{})
	for i := range uint64(3000) {
		long.Syscalls = append(long.Syscalls, specs.LinuxSyscall{Names: []string{"ioctl"}, Action: specs.ActAllow,
			Args: []specs.LinuxSeccompArg{{Index: 1, Value: 0xff00ff00ff, ValueTwo: i, Op: specs.OpMaskedEqual}}})
	}
	long.Syscalls = long.Syscalls[1:]
	for name, x := range map[string]struct {
		s    *specs.LinuxSeccomp
		arch string
		want string
	}{
		"no action":         {&specs.LinuxSeccomp{}, "amd64", `unknown action ""`},
		"a wrong action":    {rule(specs.LinuxSyscall{Action: "SCMP_ACT_ALOW"}), "amd64", `compiling the seccomp profile: rule 1: unknown action "SCMP_ACT_ALOW"`},
		"notify":            {rule(specs.LinuxSyscall{Action: specs.ActNotify}), "amd64", "SCMP_ACT_NOTIFY is not supported"},
		"notify by default": {&specs.LinuxSeccomp{DefaultAction: specs.ActNotify}, "amd64", "SCMP_ACT_NOTIFY is not supported"},
		"errno of ALLOW":    {rule(specs.LinuxSyscall{Action: specs.ActAllow, ErrnoRet: new(uint(1))}), "amd64", "takes no error number"},
		"a large errno":     {rule(specs.LinuxSyscall{Action: specs.ActErrno, ErrnoRet: new(uint(4096))}), "amd64", "above 4095"},
		"a seventh argument": {rule(specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActAllow,
			Args: []specs.LinuxSeccompArg{{Index: 6, Op: specs.OpEqualTo}}}), "amd64", "argument 6: a system call has six"},
		"a wrong comparison": {rule(specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActAllow,
			Args: []specs.LinuxSeccompArg{{Op: "EQ"}}}), "amd64", `unknown comparison "EQ"`},
		"a call without name":  {rule(specs.LinuxSyscall{Names: []string{""}, Action: specs.ActAllow}), "amd64", "without a name"},
		"a wrong architecture": {&specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Architectures: []specs.Arch{"SCMP_ARCH_X86-64"}}, "amd64", `architecture "SCMP_ARCH_X86-64": unknown`},
		"another machine":      {rule(specs.LinuxSyscall{Action: specs.ActAllow}), "riscv64", "no table of system calls for riscv64"},
		"a wrong flag":         {&specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Flags: []specs.LinuxSeccompFlag{"LOG"}}, "amd64", `flag "LOG" is not supported`},
		"a listener's flag":    {&specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Flags: []specs.LinuxSeccompFlag{specs.LinuxSeccompFlagWaitKillableRecv}}, "amd64", "WAIT_KILLABLE_RECV"},
		"a listener":           {&specs.LinuxSeccomp{DefaultAction: specs.ActAllow, ListenerPath: "/run/x"}, "amd64", "listenerPath"},
		"too long":             {long, "amd64", "and the kernel takes 4096"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Compile(x.s, x.arch); err == nil || !strings.Contains(err.Error(), x.want) {
				t.Errorf("%v, want %q", err, x.want)
			}
		})
	}
}

func TestFlags(t *testing.T) {
	for _, x := range []struct {
		flags []specs.LinuxSeccompFlag
		want  uint
	}{
		{nil, 4},
		{[]specs.LinuxSeccompFlag{}, 0},
		{[]specs.LinuxSeccompFlag{"SECCOMP_FILTER_FLAG_TSYNC", specs.LinuxSeccompFlagLog}, 3},
		{[]specs.LinuxSeccompFlag{specs.LinuxSeccompFlagSpecAllow}, 4},
	} {
		p, err := Compile(&specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Flags: x.flags}, "amd64")
		if err != nil || p.Flags != x.want {
			t.Errorf("%q: %d, want %d (%v)", x.flags, p.Flags, x.want, err)
		}
	}
}

func TestUnknownNames(t *testing.T) {
	s := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{
		{Names: []string{"mout", "read", "s390_runtime_instr"}, Action: specs.ActErrno}, {Names: []string{"mout"}, Action: specs.ActErrno},
	}}
	p, err := Compile(s, "amd64")
	if err != nil || fmt.Sprint(p.Unknown) != "[mout s390_runtime_instr]" {
		t.Errorf("%q (%v)", p.Unknown, err)
	}
}

// TestMuxed: all that go through socketcall(2) and ipc(2) are found, and forbidden there too.
func TestMuxed(t *testing.T) {
	if !slices.IsSortedFunc(muxCalls, func(a, b muxCall) int { return strings.Compare(a.name, b.name) }) || len(muxCalls) != 32 {
		t.Error("muxCalls is not sorted, or not whole")
	}
	for _, m := range muxCalls {
		for _, conds := range [][]specs.LinuxSeccompArg{nil, {{Index: 1, Value: 5, Op: specs.OpEqualTo}}} {
			s := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Architectures: []specs.Arch{specs.ArchX86},
				Syscalls: []specs.LinuxSyscall{{Names: []string{m.name}, Action: specs.ActErrno, Args: conds}}}
			compare(t, s, "amd64", [][6]uint64{{}, {uint64(m.nr)}, {uint64(m.nr), 5}, {uint64(m.nr) | 1<<16, 5}, {uint64(m.nr) + 1}})
			s.DefaultAction, s.Syscalls[0].Action = specs.ActErrno, specs.ActAllow
			compare(t, s, "amd64", [][6]uint64{{}, {uint64(m.nr)}, {uint64(m.nr), 5}, {uint64(m.nr) | 1<<16, 5}, {uint64(m.nr) + 1}})
		}
	}
}

// The same profile is always the same filter: a cache may keep it.
func TestStable(t *testing.T) {
	one, _ := Compile(Default(dockerCaps, "amd64"), "amd64")
	two, _ := Compile(Default(dockerCaps, "amd64"), "amd64")
	if !bytes.Equal(one.Filter, two.Filter) {
		t.Error("two filters of one profile differ")
	}
}
