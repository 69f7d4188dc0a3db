// Package child is the side of a run that lives inside the new namespaces: spec in, program out.
//
// Its idea is that the child is data. [Compile] turns an OCI runtime spec into an ordered list of
// system calls; [Start] clones a process whose only work is to make those calls, one after the
// other, and to exec. Everything that can be opened, resolved or decided is done by the parent
// beforehand, in ordinary Go; what is left has no branches, so the list can be printed
// (umiak run --explain), compared in golden tests without privileges, and fuzzed.
//
// No second copy of umiak is ever exec'ed inside the container (the class of CVE-2019-5736), and
// no step inside the image's tree is taken by a path string: every mount, mkdir and mknod goes
// through a descriptor that openat2(2) found beneath the root. It needs Linux 5.12 (openat2 5.6,
// the fsopen(2) family 5.2, mount_setattr(2) 5.12).
package child

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Op is one system call of the child.
type Op struct {
	// Step is what the call is for, in the words of the tutorial; "" continues the step before.
	Step string `json:",omitempty"`
	// Name is the call's name as in section 2 of the manual, Nr its number here.
	Name string
	Nr   uintptr
	Args []Arg
	// Save keeps the result under a name that later calls use as an argument; 0 keeps nothing.
	Save Slot `json:",omitempty"`
	// Allow lists errors that are as good as success (a directory that is there already). The
	// result is then missing, and later calls that would use it are left out.
	Allow []syscall.Errno `json:",omitempty"`
	Kind  Kind            `json:",omitempty"`
	// Want is the result of an exact call; Expect what a same call must write to its second argument.
	Want   uint64 `json:",omitempty"`
	Expect []byte `json:",omitempty"`
	// Invalid says what it means here that the kernel finds an argument invalid.
	Invalid string `json:",omitempty"`
}

// Kind says how the result of a call is judged.
type Kind uint8

const (
	plain Kind = iota
	// exec does not return when it works. Errors that execvp(3) passes over lead to the next
	// operation; when the list ends, EACCES is reported if any call met it, else ENOENT.
	exec
	// exact must return Want: a poll(2) that must find nothing, an option that is read back.
	exact
	// same must write exactly Expect to its second argument.
	same
)

// Slot names a saved result; 0 is none.
type Slot uint16

const maxSlots = 2000

// Arg is one argument of a call.
type Arg struct {
	Type ArgType
	Num  uint64 `json:",omitempty"` // number: the value; fd: the parent's descriptor; slot: which
	Text string `json:",omitempty"` // text: what is passed; otherwise how it is printed
	Data []byte `json:",omitempty"` // data: a struct passed by address
	// Points is what the struct's second word is the address of, if set.
	Points []byte   `json:",omitempty"`
	List   []string `json:",omitempty"` // list: argv or envp
}

// ArgType says what an argument is, and so how it is printed and passed.
type ArgType uint8

const (
	argNumber ArgType = iota
	argText
	argFd   // a descriptor the parent opened
	argSlot // the result of an earlier call
	argData
	argList
)

func num(n uint64) Arg                 { return Arg{Num: n, Text: strconv.FormatUint(n, 10)} }
func octal(n uint64) Arg               { return Arg{Num: n, Text: fmt.Sprintf("0%o", n)} }
func named(n uint64, name string) Arg  { return Arg{Num: n, Text: name} }
func text(s string) Arg                { return Arg{Type: argText, Text: s} }
func data(b []byte, shown string) Arg  { return Arg{Type: argData, Data: b, Text: shown} }
func list(l []string, name string) Arg { return Arg{Type: argList, List: l, Text: name} }

var null = Arg{Text: "NULL"}

// fd is a descriptor that the parent has opened; n is -1 in a list that is only printed.
func fd(n int, name string) Arg { return Arg{Type: argFd, Num: uint64(int64(n)), Text: name} }

// List is what the child will do, in order, and how it is born.
type List struct {
	Flags uintptr // CLONE_NEW…
	Ops   []Op
	Slots []string // names of the slots; Slots[0] is unused
	// Keep are the parent's descriptors that calls of the list use.
	Keep []int
	// Pass is how many descriptors from 3 on the program inherits.
	Pass int
}

// String prints the list for a reader: a line a call, the step it belongs to in front.
func (l *List) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-46s %s\n", "be born in new namespaces", "clone("+flagNames(l.Flags)+")")
	for _, o := range l.Ops {
		fmt.Fprintf(&b, "%-46s %s\n", o.Step, l.call(o))
	}
	return b.String()
}

// asked prints a call with its arguments.
func (l *List) asked(o Op) string {
	args := make([]string, len(o.Args))
	for i, a := range o.Args {
		args[i] = l.arg(a)
	}
	return o.Name + "(" + strings.Join(args, ", ") + ")"
}

// call adds what becomes of the result.
func (l *List) call(o Op) string {
	s := l.asked(o)
	if o.Save != 0 {
		s += " = " + l.Slots[o.Save]
	}
	if len(o.Allow) > 0 {
		names := make([]string, len(o.Allow))
		for i, e := range o.Allow {
			names[i] = errnoName(e)
		}
		s += "  (or " + strings.Join(names, ", ") + ")"
	}
	return s
}

func (l *List) arg(a Arg) string {
	switch a.Type {
	case argText:
		return strconv.Quote(a.Text)
	case argSlot:
		return l.Slots[a.Num]
	case argList:
		if a.Text == "envp" {
			return "envp"
		}
		return fmt.Sprintf("%q", a.List)
	}
	return a.Text
}

var cloneNames = []struct {
	flag uintptr
	name string
}{
	{syscall.CLONE_NEWUTS, "CLONE_NEWUTS"}, {syscall.CLONE_NEWPID, "CLONE_NEWPID"}, {syscall.CLONE_NEWNS, "CLONE_NEWNS"},
	{syscall.CLONE_NEWIPC, "CLONE_NEWIPC"}, {syscall.CLONE_NEWNET, "CLONE_NEWNET"}, {syscall.CLONE_NEWUSER, "CLONE_NEWUSER"},
}

func flagNames(flags uintptr) string {
	var names []string
	for _, n := range cloneNames {
		if flags&n.flag != 0 {
			names = append(names, n.name)
		}
	}
	return strings.Join(names, "|")
}

func errnoName(e syscall.Errno) string {
	switch e {
	case syscall.EEXIST:
		return "EEXIST"
	case syscall.ENOENT:
		return "ENOENT"
	case syscall.EINVAL:
		return "EINVAL"
	case syscall.ENOTDIR:
		return "ENOTDIR"
	}
	return e.Error()
}

// Error says which step of the child failed, and how.
type Error struct {
	Step  string
	Call  string // the call with its arguments
	Errno syscall.Errno
	Exec  bool // the program itself could not be started: everything before it worked
	// Reason says more than the errno, where more is known.
	Reason string
}

func (e *Error) Error() string {
	if e.Exec {
		return e.Errno.Error()
	}
	if e.Reason != "" {
		return fmt.Sprintf("%s: %s (%s: %v)", e.Step, e.Reason, e.Call, e.Errno)
	}
	return fmt.Sprintf("%s: %v (%s)", e.Step, e.Errno, e.Call)
}

func (e *Error) Unwrap() error { return e.Errno }

// printable shows what would act on a terminal: a list is printed, and an image names directories.
func printable(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) }) {
		s = strconv.Quote(s)
		return s[1 : len(s)-1]
	}
	return s
}

// reason is what an errno means for this call, where its own text would mislead.
func (o Op) reason(e syscall.Errno) string {
	switch {
	case e == syscall.EINVAL:
		return o.Invalid
	case e == syscall.ELOOP && o.Nr == unix.SYS_OPENAT2:
		return "a symbolic link on the way, which is not followed here"
	case e == notAsAsked && (o.Kind == exact || o.Kind == same):
		return "the kernel took it and then had something else"
	}
	return ""
}

// failure turns an index and an errno, all a child can say, into words.
func (l *List) failure(op int, errno syscall.Errno) *Error {
	if op < 0 || op >= len(l.Ops) {
		return &Error{Step: "start the child", Call: "operation " + strconv.Itoa(op), Errno: errno}
	}
	o := l.Ops[op]
	e := &Error{Call: l.asked(o), Errno: errno, Exec: o.Kind == exec, Reason: o.reason(errno)}
	for ; op >= 0 && e.Step == ""; op-- {
		e.Step = l.Ops[op].Step
	}
	return e
}
