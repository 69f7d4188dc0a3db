package child

import (
	"encoding/binary"
	"fmt"
	"syscall"
	"unsafe"
)

// program is a List as the child reads it: numbers and addresses only. The child may share the
// parent's memory with the Go runtime stopped in it, so it can't allocate, grow its stack or call
// anything but raw system calls.
type program struct {
	ops   []rawOp
	slots [maxSlots]uintptr
	keep  []any // what the addresses in ops point to
}

type rawOp struct {
	nr     uintptr
	arg    [6]uintptr
	isSlot uint8 // bit i: arg[i] is the number of a slot
	save   Slot
	kind   Kind
	allow  [2]syscall.Errno
	want   uintptr        // exact: the result
	expect unsafe.Pointer // same: what the call is to write to got, size bytes of it
	got    unsafe.Pointer
	size   int
}

const missing = ^uintptr(0) // a slot whose call met an allowed error

// assemble lays the list out for the child.
func (l *List) assemble() (*program, error) {
	p := &program{ops: make([]rawOp, len(l.Ops))}
	for i, o := range l.Ops {
		r := &p.ops[i]
		r.nr, r.save, r.kind = o.Nr, o.Save, o.Kind
		if len(o.Args) > len(r.arg) || len(o.Allow) > len(r.allow) || o.Save >= maxSlots {
			return nil, fmt.Errorf("assembling %s: more than the child can hold", o.Name)
		}
		copy(r.allow[:], o.Allow)
		r.want = uintptr(o.Want)
		if o.Kind == same {
			r.expect, r.got, r.size = unsafe.Pointer(unsafe.SliceData(o.Expect)), unsafe.Pointer(unsafe.SliceData(o.Args[1].Data)), len(o.Expect)
		}
		for j, a := range o.Args {
			v, err := p.address(a)
			if err != nil {
				return nil, fmt.Errorf("assembling %s: %w", l.call(o), err)
			}
			r.arg[j] = v
			if a.Type == argSlot {
				r.isSlot |= 1 << j
				if a.Num == 0 || a.Num >= maxSlots { // slot 0 would be read as descriptor 0
					return nil, fmt.Errorf("assembling %s: an argument that no call has given", o.Name)
				}
			}
		}
	}
	return p, nil
}

// address gives an argument as a register takes it. Go's heap does not move; p.keep holds on to it.
func (p *program) address(a Arg) (uintptr, error) {
	switch a.Type {
	case argText:
		b, err := syscall.BytePtrFromString(a.Text)
		if err != nil {
			return 0, fmt.Errorf("a NUL byte in %q: %w", a.Text, err)
		}
		p.keep = append(p.keep, b)
		return uintptr(unsafe.Pointer(b)), nil
	case argData:
		p.keep = append(p.keep, a.Data, a.Points)
		if len(a.Points) > 0 {
			binary.NativeEndian.PutUint64(a.Data[8:], uint64(uintptr(unsafe.Pointer(unsafe.SliceData(a.Points)))))
		}
		return uintptr(unsafe.Pointer(unsafe.SliceData(a.Data))), nil
	case argList:
		l, err := syscall.SlicePtrFromStrings(a.List)
		if err != nil {
			return 0, fmt.Errorf("a NUL byte in %s: %w", a.Text, err)
		}
		p.keep = append(p.keep, l)
		return uintptr(unsafe.Pointer(unsafe.SliceData(l))), nil
	}
	return uintptr(a.Num), nil
}

// run makes the calls in order. It returns only on failure: the index of the call and its error.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (p *program) run() (int, syscall.Errno) {
	var arg [6]uintptr
	var denied bool
	last := 0
next:
	for i := range p.ops {
		o := &p.ops[i]
		for j := range o.arg {
			arg[j] = o.arg[j]
			if o.isSlot&(1<<uint(j)) != 0 {
				arg[j] = p.slots[uint16(o.arg[j])%maxSlots]
				if arg[j] == missing {
					p.slots[o.save%maxSlots] = missing
					continue next
				}
			}
		}
		r, _, e := syscall.RawSyscall6(o.nr, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5])
		last = i
		switch {
		case o.kind == exec:
			if e == syscall.EACCES {
				denied = true
			} else if !passedOver(e) {
				return i, e
			}
		case e != 0:
			if e != o.allow[0] && e != o.allow[1] {
				return i, e
			}
			r = missing
		case o.kind == exact && r != o.want, o.kind == same && !equal(o.expect, o.got, o.size):
			return i, notAsAsked
		}
		p.slots[o.save%maxSlots] = r
	}
	if denied {
		return last, syscall.EACCES
	}
	return last, syscall.ENOENT
}

// notAsAsked is the error of a call whose result was not the one promised: EBADE, which no call
// here returns by itself.
const notAsAsked = syscall.EBADE

// equal compares memory.
//
//go:nosplit
//go:norace
//go:nocheckptr
func equal(a, b unsafe.Pointer, size int) bool {
	for i := 0; i < size; i++ {
		if *(*byte)(unsafe.Add(a, i)) != *(*byte)(unsafe.Add(b, i)) {
			return false
		}
	}
	return true
}

// passedOver says whether execvp(3) goes on to the next directory of PATH after this error.
//
//go:nosplit
//go:norace
func passedOver(e syscall.Errno) bool {
	return e == syscall.ENOENT || e == syscall.ENOTDIR || e == syscall.ESTALE || e == syscall.ENODEV
}
