package seccomp

import (
	"encoding/binary"
	"slices"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// program writes the filter: architecture, number, arguments.
func (c *compiler) program() []unix.SockFilter {
	p := newAsm()
	var audits []uint32
	for _, t := range c.tables { // the native one is the first, and is to be asked first
		if !slices.Contains(audits, t.audit) {
			audits = append(audits, t.audit)
		}
	}
	entry := p.ret(badArch)
	for _, audit := range slices.Backward(audits) {
		numbers := p.then(p.numbers(c.decisions(audit)), opLoad, offNr)
		entry = p.branch(opEQ, audit, numbers, entry)
	}
	return p.finish(p.then(entry, opLoad, offArch))
}

// numbers writes the search of a call's number.
func (p *asm) numbers(all []decision) label {
	arms := make([]arm, len(all))
	for i, d := range all {
		arms[i] = arm{from: d.from, ret: d.ret}
		if len(d.rules) > 0 {
			arms[i].to = func() label { return p.decide(d) }
		}
	}
	return p.tree(arms)
}

// decide writes what happens to a call whose number is known. Calls with equal rules share it.
func (p *asm) decide(d decision) label {
	key := d.key()
	l, ok := p.decided[key]
	if !ok {
		l = p.rules(d)
		p.decided[key] = l
	}
	return l
}

func (d *decision) key() string {
	var b []byte
	u64 := binary.NativeEndian.AppendUint64
	b = u64(b, uint64(d.ret))
	for _, r := range d.rules {
		b = u64(u64(b, uint64(r.ret)), uint64(len(r.conds)))
		for _, c := range r.conds {
			b = append(u64(u64(append(b, byte(c.arg)), c.value), c.mask), c.op...)
		}
	}
	return string(strconv.AppendBool(b, d.wide))
}

// rules writes the conditions on the arguments of a call.
func (p *asm) rules(d decision) label {
	if s, arg, ok := d.spans(); ok {
		return p.spans(s, arg, d.wide)
	}
	next := p.ret(d.ret)
	for _, r := range slices.Backward(d.rules) {
		ok := p.ret(r.ret)
		for _, c := range slices.Backward(r.conds) {
			ok = p.compare(c, d.wide, ok, next)
		}
		next = ok
	}
	return next
}

// spans writes the search of an argument: first its upper half, then its lower one.
func (p *asm) spans(all []span, arg uint, wide bool) label {
	if !wide {
		return p.half(lower(all, 0), lowHalf(arg))
	}
	var upper []arm
	for i, s := range all {
		hi := uint32(s.from >> 32)
		if i > 0 && uint32(all[i-1].from>>32) == hi {
			continue
		}
		if n := len(upper); n > 0 && upper[n-1].from == hi {
			upper = upper[:n-1] // what goes on from below ends here
		}
		low := lower(all[max(i-1, 0):], hi)
		upper = append(upper, arm{from: hi, to: func() label { return p.half(low, lowHalf(arg)) }})
		if last := low[len(low)-1]; len(low) == 1 {
			upper[len(upper)-1] = last
			upper[len(upper)-1].from = hi
		} else if hi != 1<<32-1 {
			upper = append(upper, arm{from: hi + 1, ret: last.ret})
		}
	}
	return p.half(upper, lowHalf(arg)+4)
}

// half writes the search of one half of an argument.
func (p *asm) half(arms []arm, offset uint32) label {
	if len(arms) == 1 {
		return p.arm(arms[0])
	}
	return p.then(p.tree(arms), opLoad, offset)
}

// lowHalf is where the lower half of an argument is; the upper one follows.
func lowHalf(arg uint) uint32 { return offArgs + 8*uint32(arg) }

// compare writes one condition.
func (p *asm) compare(c cond, wide bool, yes, no label) label {
	switch c.op {
	case specs.OpEqualTo:
		c.mask = 1<<64 - 1
	case specs.OpNotEqual:
		c.mask, yes, no = 1<<64-1, no, yes
	case specs.OpMaskedEqual:
	case specs.OpLessThan:
		return p.order(opGE, c, wide, no, yes)
	case specs.OpLessEqual:
		return p.order(opGT, c, wide, no, yes)
	case specs.OpGreaterThan:
		return p.order(opGT, c, wide, yes, no)
	case specs.OpGreaterEqual:
		return p.order(opGE, c, wide, yes, no)
	}
	yes = p.masked(lowHalf(c.arg), uint32(c.mask), uint32(c.value), yes, no)
	if !wide {
		return yes
	}
	return p.masked(lowHalf(c.arg)+4, uint32(c.mask>>32), uint32(c.value>>32), yes, no)
}

// masked writes the comparison of some bits of one half of an argument.
func (p *asm) masked(offset, mask, value uint32, yes, no label) label {
	if mask == 0 {
		return yes
	}
	l := p.branch(opEQ, value, yes, no)
	if mask != 1<<32-1 {
		l = p.then(l, opAnd, mask)
	}
	return p.then(l, opLoad, offset)
}

// order writes a comparison by size, op being opGT or opGE.
func (p *asm) order(op uint16, c cond, wide bool, yes, no label) label {
	l := p.then(p.branch(op, uint32(c.value), yes, no), opLoad, lowHalf(c.arg))
	if !wide {
		return l
	}
	equal := p.branch(opEQ, uint32(c.value>>32), l, no)
	return p.then(p.branch(opGT, uint32(c.value>>32), yes, equal), opLoad, lowHalf(c.arg)+4)
}
