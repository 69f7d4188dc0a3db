package seccomp

import (
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// decision is what is answered to all calls from a number on, up to the next decision's.
type decision struct {
	from  uint32
	rules []rule // with conditions, tried in order
	ret   uint32 // if none matches
	wide  bool   // how arguments are compared
}

// plain is a decision that looks at no argument.
func plain(from, ret uint32) decision { return decision{from: from, ret: ret} }

// join adds a decision to a list, unless it says what the one before says.
func join(all []decision, d decision) []decision {
	if len(all) > 0 {
		if last := &all[len(all)-1]; len(last.rules) == 0 && len(d.rules) == 0 && last.ret == d.ret {
			return all
		}
	}
	return append(all, d)
}

// decisions adds the answers for all numbers of an ABI to a list, in order.
func (t *table) decisions(all []decision, def, newer uint32) []decision {
	order := make([]uint64, len(t.rules)) // number, place in the profile
	// Where an answer may begin that the number before does not get.
	starts := make([]uint32, 0, 3+2*len(t.rules))
	starts = append(starts, t.base, t.highest+1, armPrivate)
	for i, r := range t.rules {
		order[i] = uint64(r.nr)<<32 | uint64(i)
		starts = append(starts, r.nr, r.nr+1)
	}
	slices.Sort(order)
	slices.Sort(starts)
	for i, nr := range starts {
		if nr < t.base || nr > t.last || i > 0 && starts[i-1] == nr {
			continue
		}
		n := 0
		for n < len(order) && uint32(order[n]>>32) == nr {
			n++
		}
		if n > 0 {
			all = join(all, t.settle(nr, order[:n], def))
			order = order[n:]
		} else {
			all = join(all, plain(nr, t.background(nr, def, newer)))
		}
	}
	return all
}

// settle makes one answer of the rules for a number: the first without conditions beats all others,
// wherever it stands.
func (t *table) settle(nr uint32, order []uint64, def uint32) decision {
	for _, o := range order {
		if r := t.rules[uint32(o)]; len(r.conds) == 0 {
			return plain(nr, r.ret)
		}
	}
	d := decision{nr, make([]rule, len(order)), def, t.wide}
	for i, o := range order {
		d.rules[i] = t.rules[uint32(o)].rule
	}
	return d
}

// background is the answer to calls that no rule is about.
func (t *table) background(nr, def, newer uint32) uint32 {
	if !t.named || nr <= t.highest || t.arch == specs.ArchARM && nr >= armPrivate {
		return def
	}
	return newer
}

// decisions gives the answers for all calls that come with an audit number, by one ABI or two.
func (c *compiler) decisions(audit uint32) []decision {
	all := make([]decision, 0, 256)
	x32 := audit != unix.AUDIT_ARCH_X86_64
	for _, base := range []uint32{0, x32Bit} {
		for _, t := range c.tables {
			if t.audit == audit && t.base == base {
				all = t.decisions(all, c.def, c.newer)
				x32 = x32 || base == x32Bit
			}
		}
	}
	if !x32 {
		// -1 stands for a call that a tracer has taken out, seccomp(2): nobody may die of it.
		all = join(join(all, plain(x32Bit, badArch)), plain(1<<32-1, c.newer))
	}
	return all
}

// badArch is the answer to a call by an ABI that the profile does not list, as libseccomp's.
const badArch = unix.SECCOMP_RET_KILL_THREAD

// span is a range of a 64-bit argument that gets the same answer.
type span struct {
	from uint64
	ret  uint32
}

// spans turns rules into ranges of one argument, if that is all they look at: thirty comparisons
// with address families become a few.
func (d *decision) spans() (all []span, arg uint, ok bool) {
	arg = d.rules[0].conds[0].arg
	starts := make([]uint64, 1, 1+2*len(d.rules))
	for _, r := range d.rules {
		c := r.conds[0]
		if len(r.conds) > 1 || c.arg != arg || c.op == specs.OpMaskedEqual {
			return nil, 0, false
		}
		starts = append(starts, c.operand(d.wide), c.operand(d.wide)+1)
	}
	slices.Sort(starts)
	for _, v := range slices.Compact(starts) {
		if !d.wide && v > 1<<32-1 {
			break
		}
		ret := d.ret
		if i := slices.IndexFunc(d.rules, func(r rule) bool { return r.conds[0].holds(v, d.wide) }); i >= 0 {
			ret = d.rules[i].ret
		}
		if n := len(all); n == 0 || all[n-1].ret != ret {
			all = append(all, span{v, ret})
		}
	}
	return all, arg, true
}

// operand is what an argument is compared with.
func (c cond) operand(wide bool) uint64 {
	if !wide {
		return c.value & (1<<32 - 1)
	}
	return c.value
}

// holds tries the condition on a value; not for OpMaskedEqual.
func (c cond) holds(v uint64, wide bool) bool {
	with := c.operand(wide)
	switch c.op {
	case specs.OpEqualTo:
		return v == with
	case specs.OpNotEqual:
		return v != with
	case specs.OpLessThan:
		return v < with
	case specs.OpLessEqual:
		return v <= with
	case specs.OpGreaterThan:
		return v > with
	}
	return v >= with
}

// lower gives the ways out for arguments whose upper half is hi. It wants the range in which these
// begin, or one before it.
func lower(all []span, hi uint32) []arm {
	var arms []arm
	for _, s := range all {
		switch h := uint32(s.from >> 32); {
		case h < hi:
			arms = []arm{{from: 0, ret: s.ret}}
		case h == hi && uint32(s.from) == 0:
			arms = []arm{{from: 0, ret: s.ret}}
		case h == hi:
			arms = append(arms, arm{from: uint32(s.from), ret: s.ret})
		default:
			return arms
		}
	}
	return arms
}
