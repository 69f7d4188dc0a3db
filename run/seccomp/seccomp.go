// Package seccomp makes filters of system calls: docker's default profile, profiles in files, and
// the classic BPF that seccomp(2) takes, without cgo and without libseccomp.
//
// It promises that a profile means here what it means to docker with runc and libseccomp: an
// unconditional rule beats conditional ones, a rule that says what the default says is no rule,
// names that this table does not know are passed over, and calls with numbers above the highest
// that the profile names are answered ENOSYS, as a kernel that has not got them would, so that
// programs fall back (runc's patchbpf; an EPERM broke glibc when clone3, faccessat2 and others
// came). Where two conditional rules with different actions match the same call, the first wins.
// It differs where libseccomp would leave a hole: see muxed, and the private calls of arm.
//
// The package is pure: it makes bytes, and the process that is to be filtered installs them.
package seccomp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

//go:generate go run ./testdata/gen
//go:generate go test -run ^TestPrepared$ -update .

// Program is a filter ready for seccomp(SECCOMP_SET_MODE_FILTER, Flags, &sock_fprog{Len(), Filter}).
type Program struct {
	Filter []byte // struct sock_filter[], 8 bytes each, in the byte order of the machine
	Flags  uint   // SECCOMP_FILTER_FLAG_…
	// Unknown are the names in the profile that no architecture has here. They have no effect,
	// which a user who wanted to forbid a call may like to hear.
	Unknown []string
}

// Len is the number of instructions.
func (p *Program) Len() int { return len(p.Filter) / insnSize }

const (
	insnSize = 8
	maxInsns = 4096 // BPF_MAXINSNS
)

// Compile translates a profile for processes of a machine with the given GOARCH. The kernel's own
// architecture is always covered; calls by one that the profile does not list kill the caller.
func Compile(s *specs.LinuxSeccomp, arch string) (*Program, error) {
	flags, err := flags(s)
	if err != nil {
		return nil, fmt.Errorf("compiling the seccomp profile: %w", err)
	}
	if p, ok := prepare(s, arch); ok {
		return p.program(flags), nil
	}
	p, err := compile(s, arch)
	if err != nil {
		return nil, fmt.Errorf("compiling the seccomp profile: %w", err)
	}
	p.Flags = flags
	return p, nil
}

func compile(s *specs.LinuxSeccomp, arch string) (*Program, error) {
	c, err := newCompiler(s, arch)
	if err != nil {
		return nil, err
	}
	for i, call := range s.Syscalls {
		if err := c.add(call); err != nil {
			return nil, fmt.Errorf("rule %d: %w", i+1, err)
		}
	}
	code := c.program()
	if len(code) > maxInsns {
		return nil, fmt.Errorf("it takes %d instructions, and the kernel takes %d", len(code), maxInsns)
	}
	p := &Program{Filter: make([]byte, 0, insnSize*len(code))}
	for _, i := range code {
		p.Filter = binary.NativeEndian.AppendUint16(p.Filter, i.Code)
		p.Filter = append(p.Filter, i.Jt, i.Jf)
		p.Filter = binary.NativeEndian.AppendUint32(p.Filter, i.K)
	}
	slices.Sort(c.unknown)
	p.Unknown = slices.Compact(c.unknown)
	return p, nil
}

// flags gives seccomp(2)'s flags. As with runc, a profile that says nothing gets SPEC_ALLOW: the
// mitigation of Spectre v4 costs every process much and is the machine's to decide (Linux 5.16
// made the same choice the default).
func flags(s *specs.LinuxSeccomp) (uint, error) {
	if s.ListenerPath != "" || s.ListenerMetadata != "" {
		return 0, errors.New("listenerPath and listenerMetadata are not supported")
	}
	if s.Flags == nil {
		return unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW, nil
	}
	var sum uint
	for _, f := range s.Flags {
		switch f {
		case "SECCOMP_FILTER_FLAG_TSYNC":
			sum |= unix.SECCOMP_FILTER_FLAG_TSYNC
		case specs.LinuxSeccompFlagLog:
			sum |= unix.SECCOMP_FILTER_FLAG_LOG
		case specs.LinuxSeccompFlagSpecAllow:
			sum |= unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
		default: // WAIT_KILLABLE_RECV too: the kernel takes it only together with a listener
			return 0, fmt.Errorf("flag %q is not supported", f)
		}
	}
	return sum, nil
}
