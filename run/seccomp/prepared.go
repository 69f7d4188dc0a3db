package seccomp

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// prepared is a filter that was compiled beforehand. Nearly every run uses docker's profile with
// docker's capabilities; compiling that takes a fresh process half a millisecond, a sum 50 µs.
type prepared struct {
	sum     string // fingerprint of the profile
	filter  string // the instructions, little-endian as both machines are
	unknown []string
}

// prepare looks whether the filter for a profile is there already.
func prepare(s *specs.LinuxSeccomp, arch string) (*prepared, bool) {
	sum := fingerprint(s, arch)
	for i := range preparedFilters {
		if p := &preparedFilters[i]; p.sum == sum {
			return p, true
		}
	}
	return nil, false
}

// fingerprint is of all that a filter depends on. It has to be as good as the profile itself:
// someone who finds another profile with the same sum gets the filter of docker's.
func fingerprint(s *specs.LinuxSeccomp, arch string) string {
	b := make([]byte, 0, 16<<10)
	text := func(t string) {
		b = append(binary.AppendUvarint(b, uint64(len(t))), t...)
	}
	number := func(n *uint) {
		if n == nil {
			b = append(b, 0)
			return
		}
		b = binary.AppendUvarint(append(b, 1), uint64(*n))
	}
	text(arch)
	text(string(s.DefaultAction))
	number(s.DefaultErrnoRet)
	b = binary.AppendUvarint(b, uint64(len(s.Architectures)))
	for _, a := range s.Architectures {
		text(string(a))
	}
	for _, c := range s.Syscalls {
		text(string(c.Action))
		number(c.ErrnoRet)
		b = binary.AppendUvarint(b, uint64(len(c.Names)))
		for _, n := range c.Names {
			text(n)
		}
		b = binary.AppendUvarint(b, uint64(len(c.Args)))
		for _, a := range c.Args {
			b = binary.AppendUvarint(binary.AppendUvarint(binary.AppendUvarint(b, uint64(a.Index)), a.Value), a.ValueTwo)
			text(string(a.Op))
		}
	}
	sum := sha256.Sum256(b)
	return string(sum[:])
}

func (p *prepared) program(flags uint) *Program {
	return &Program{Filter: []byte(p.filter), Flags: flags, Unknown: slices.Clone(p.unknown)}
}
