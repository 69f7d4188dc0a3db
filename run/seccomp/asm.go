package seccomp

import "golang.org/x/sys/unix"

// Offsets in struct seccomp_data, seccomp(2). Both machines we know are little-endian.
const (
	offNr   = 0
	offArch = 4
	offArgs = 16
)

// The instructions, linux/bpf_common.h. All loads are of 32 bits: a classic filter has no others.
const (
	opLoad = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	opAnd  = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
	opJump = unix.BPF_JMP | unix.BPF_JA
	opRet  = unix.BPF_RET | unix.BPF_K
	opEQ   = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	opGT   = unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K
	opGE   = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
)

// asm writes a program from its end to its start. Classic BPF jumps only forward, so that whatever
// an instruction leads to has then its place already, and equal ends can be shared.
type asm struct {
	code    []unix.SockFilter // the last instruction first
	ends    map[uint32]label  // the nearest return of each value
	decided map[string]label  // decisions by their key
}

// label is an instruction to go to: its index in asm.code.
type label int

func newAsm() *asm {
	return &asm{code: make([]unix.SockFilter, 0, 512), ends: map[uint32]label{}, decided: map[string]label{}}
}

func (p *asm) emit(code uint16, k uint32) label {
	p.code = append(p.code, unix.SockFilter{Code: code, K: k})
	return label(len(p.code) - 1)
}

// ret is a place that returns a value.
func (p *asm) ret(v uint32) label {
	l, ok := p.ends[v]
	if !ok {
		l = p.emit(opRet, v)
		p.ends[v] = l
	}
	return l
}

// distance is how many instructions one written next would jump over to get there.
func (p *asm) distance(l label) int { return len(p.code) - 1 - int(l) }

// copy writes the end at l again, or a jump to what is there, which has no limit of 255.
func (p *asm) copy(l label) label {
	if end := p.code[l]; end.Code == opRet {
		p.ends[end.K] = p.emit(opRet, end.K)
		return p.ends[end.K]
	}
	return p.emit(opJump, uint32(p.distance(l)))
}

// near gives a place that a comparison can jump to, even when one more instruction comes between.
func (p *asm) near(l label) label {
	if end := p.code[l]; end.Code == opRet {
		l = p.ends[end.K] // it may have been written again meanwhile
	}
	if p.distance(l) > 254 {
		return p.copy(l)
	}
	return l
}

// then writes an instruction that does not jump; what comes after it is at next.
func (p *asm) then(next label, code uint16, k uint32) label {
	if p.distance(next) > 0 {
		p.copy(next)
	}
	return p.emit(code, k)
}

// branch writes a comparison of the accumulator with k.
func (p *asm) branch(code uint16, k uint32, yes, no label) label {
	if yes == no {
		return yes
	}
	yes, no = p.near(yes), p.near(no)
	l := p.emit(code, k)
	p.code[l].Jt, p.code[l].Jf = uint8(int(l-yes)-1), uint8(int(l-no)-1)
	return l
}

// arm is one way out of a tree, for values from a number on: to code, or to a return.
type arm struct {
	from uint32
	ret  uint32
	to   func() label // nil for a return
}

func (p *asm) arm(a arm) label {
	if a.to == nil {
		return p.ret(a.ret)
	}
	return a.to()
}

// tree writes a search of the accumulator, balanced, so that no call waits long.
func (p *asm) tree(arms []arm) label {
	if len(arms) == 1 {
		return p.arm(arms[0])
	}
	if a := arms; len(a) == 3 && a[1].from+1 == a[2].from && a[0].to == nil && a[2].to == nil && a[0].ret == a[2].ret {
		// One value between two equal sides takes one comparison instead of two.
		inner := p.arm(a[1])
		return p.branch(opEQ, a[1].from, inner, p.ret(a[0].ret))
	}
	m := len(arms) / 2
	if len(arms) > 3 {
		m = (m + 1) / 3 * 3 // leave threes together for the case above
	}
	right := p.tree(arms[m:])
	left := p.tree(arms[:m])
	return p.branch(opGE, arms[m].from, right, left)
}

// finish gives the program that starts at l.
func (p *asm) finish(l label) []unix.SockFilter {
	if p.distance(l) > 0 {
		p.copy(l)
	}
	out := make([]unix.SockFilter, len(p.code))
	for i, ins := range p.code {
		out[len(out)-1-i] = ins
	}
	return out
}
