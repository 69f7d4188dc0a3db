package seccomp

import (
	"fmt"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// cond compares an argument. For OpMaskedEqual value has no bits outside of mask.
type cond struct {
	arg         uint
	op          specs.LinuxSeccompOperator
	value, mask uint64
}

// rule is what is answered to a call if all conditions hold.
type rule struct {
	ret   uint32
	conds []cond
}

// numbered is a rule with the number that calls have by one ABI.
type numbered struct {
	nr uint32
	rule
}

// table collects the rules of one ABI.
type table struct {
	*abi
	rules   []numbered // in the order of the profile
	named   bool       // whether the profile names a call of this ABI, also in rules that change nothing
	highest uint32     // number among these
}

type compiler struct {
	tables  []*table
	def     uint32 // what is answered where no rule matches
	newer   uint32 // what is answered above the highest number
	unknown []string
}

func newCompiler(s *specs.LinuxSeccomp, goarch string) (*compiler, error) {
	c := &compiler{}
	var err error
	if c.def, err = answer(s.DefaultAction, s.DefaultErrnoRet); err != nil {
		return nil, fmt.Errorf("default action: %w", err)
	}
	c.newer = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	switch s.DefaultAction {
	case specs.ActAllow, specs.ActLog, specs.ActTrace: // the kernel, or the tracer, knows itself what it has not got
		c.newer = c.def
	}
	covered, err := listed(goarch, s.Architectures)
	if err != nil {
		return nil, err
	}
	n := 0
	for _, call := range s.Syscalls {
		n += len(call.Names)
	}
	for _, a := range covered {
		c.tables = append(c.tables, &table{abi: a, rules: make([]numbered, 0, n)})
	}
	return c, nil
}

// answer gives the value that a filter returns for an action.
func answer(a specs.LinuxSeccompAction, errno *uint) (uint32, error) {
	n := uint(unix.EPERM)
	if errno != nil {
		n = *errno
		if a != specs.ActErrno && a != specs.ActTrace {
			return 0, fmt.Errorf("%s takes no error number", a)
		}
		if n > 4095 { // MAX_ERRNO: the kernel would cut it
			return 0, fmt.Errorf("%s: error number %d is above 4095", a, n)
		}
	}
	switch a {
	case specs.ActErrno:
		return unix.SECCOMP_RET_ERRNO | uint32(n), nil
	case specs.ActTrace:
		return unix.SECCOMP_RET_TRACE | uint32(n), nil
	case specs.ActAllow:
		return unix.SECCOMP_RET_ALLOW, nil
	case specs.ActKill, specs.ActKillThread:
		return unix.SECCOMP_RET_KILL_THREAD, nil
	case specs.ActKillProcess:
		return unix.SECCOMP_RET_KILL_PROCESS, nil
	case specs.ActTrap:
		return unix.SECCOMP_RET_TRAP, nil
	case specs.ActLog:
		return unix.SECCOMP_RET_LOG, nil
	case specs.ActNotify:
		return 0, fmt.Errorf("%s is not supported", a)
	}
	return 0, fmt.Errorf("unknown action %q", a)
}

// add takes in one rule of the profile.
func (c *compiler) add(s specs.LinuxSyscall) error {
	ret, err := answer(s.Action, s.ErrnoRet)
	if err != nil {
		return err
	}
	conds, err := alternatives(s.Args)
	if err != nil {
		return err
	}
	for _, name := range s.Names {
		if name == "" {
			return fmt.Errorf("a system call without a name")
		}
		e, ok := lookup(name)
		if !ok {
			c.unknown = append(c.unknown, name)
			continue
		}
		for _, t := range c.tables {
			t.add(e, ret, conds, c.def)
		}
	}
	return nil
}

// add takes in a rule for a call. Each of the alternatives is a list of conditions of which all must hold.
func (t *table) add(e *syscallEntry, ret uint32, alternatives [][]cond, def uint32) {
	nr := e.nr[t.column]
	if nr >= 0 {
		t.name(uint32(nr))
	}
	if ret == def {
		return
	}
	for _, conds := range alternatives {
		if nr >= 0 {
			t.rules = append(t.rules, numbered{t.base + uint32(nr), rule{ret, conds}})
		}
		if t.arch == specs.ArchX86 {
			t.addMuxed(e.name, ret, conds, def)
		}
	}
}

// name notes that the profile knows a number.
func (t *table) name(nr uint32) {
	if t.arch == specs.ArchARM && nr >= armPrivate {
		return
	}
	t.named, t.highest = true, max(t.highest, t.base+nr)
}

// addMuxed takes in the rule for the way through socketcall(2) or ipc(2). The arguments proper are
// in memory there, where no filter sees them. So a rule with conditions counts, without them, if
// it is stricter than the default, and not at all if it opens something. (libseccomp opens it.)
func (t *table) addMuxed(name string, ret uint32, conds []cond, def uint32) {
	via, c, ok := muxed(name)
	if !ok || len(conds) > 0 && severity(ret) > severity(def) {
		return
	}
	e, _ := lookup(via)
	t.rules = append(t.rules, numbered{uint32(e.nr[t.column]), rule{ret, []cond{c}}})
}

// severity orders answers as the kernel does, the strictest first: KILL_PROCESS is negative.
func severity(ret uint32) int32 { return int32(ret & unix.SECCOMP_RET_ACTION_FULL) }

var operators = []specs.LinuxSeccompOperator{
	specs.OpEqualTo, specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpGreaterThan, specs.OpGreaterEqual, specs.OpMaskedEqual,
}

// alternatives gives the alternatives that a list of comparisons means. Several of one argument are
// alternatives, all others must hold together: so runc does since its first day, and docker's
// profiles count on it (runc issue 2735).
func alternatives(args []specs.LinuxSeccompArg) ([][]cond, error) {
	var all []cond
	var seen [6]int
	for _, a := range args {
		if a.Index >= uint(len(seen)) {
			return nil, fmt.Errorf("argument %d: a system call has six, from 0", a.Index)
		}
		if !slices.Contains(operators, a.Op) {
			return nil, fmt.Errorf("argument %d: unknown comparison %q", a.Index, a.Op)
		}
		c := cond{arg: a.Index, op: a.Op, value: a.Value}
		if a.Op == specs.OpMaskedEqual {
			c.mask, c.value = a.Value, a.ValueTwo&a.Value
		}
		seen[a.Index]++
		all = append(all, c)
	}
	if slices.Max(seen[:]) <= 1 {
		return [][]cond{all}, nil
	}
	var each [][]cond
	for _, c := range all {
		each = append(each, []cond{c})
	}
	return each, nil
}
