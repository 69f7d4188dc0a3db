package seccomp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// profile is docker's form of a profile: OCI's, with conditions on the machine and on the
// container's capabilities. A profile in OCI's form is one without conditions.
type profile struct {
	DefaultAction    specs.LinuxSeccompAction `json:"defaultAction"`
	DefaultErrnoRet  *uint                    `json:"defaultErrnoRet"`
	DefaultErrno     string                   `json:"defaultErrno"` // podman's: a name, beside or in place of the number
	Architectures    []specs.Arch             `json:"architectures"`
	ArchMap          []archMap                `json:"archMap"`
	Flags            []specs.LinuxSeccompFlag `json:"flags"`
	ListenerPath     string                   `json:"listenerPath"`
	ListenerMetadata string                   `json:"listenerMetadata"`
	Syscalls         []group                  `json:"syscalls"`
}

type archMap struct {
	Architecture     specs.Arch   `json:"architecture"`
	SubArchitectures []specs.Arch `json:"subArchitectures"`
}

type group struct {
	specs.LinuxSyscall
	Name     string      `json:"name"`  // in files from before Docker 17
	Errno    string      `json:"errno"` // podman's
	Comment  string      `json:"comment"`
	Includes *conditions `json:"includes"` // all must hold
	Excludes *conditions `json:"excludes"` // none may hold
}

type conditions struct {
	Caps      []string `json:"caps"`
	Arches    []string `json:"arches"`
	MinKernel version  `json:"minKernel"`
}

// host is what conditions are about.
type host struct {
	caps   []string
	arch   string
	kernel version
}

// Default is docker's default profile for a process with these capabilities in its bounding set
// ("CAP_…"), on a machine with this GOARCH. The profile asks for Linux 4.8 in places (ptrace(2)
// could walk around filters before); umiak runs on none so old.
func Default(caps []string, arch string) *specs.LinuxSeccomp {
	return dockerDefault.render(host{caps, arch, version{math.MaxInt, 0}})
}

// Parse reads a profile file, in docker's form or OCI's, for such a process. kernel is the
// machine's release as in uname(2). A word in the file that has no meaning is an error: one that
// is misspelled would be a hole. (To docker, {} means no filter; here it is an error, too.)
func Parse(b []byte, caps []string, arch, kernel string) (*specs.LinuxSeccomp, error) {
	var p profile
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		return nil, fmt.Errorf("reading the seccomp profile: %w", position(b, err))
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("reading the seccomp profile: there is something after its end")
	}
	if err := keys(json.NewDecoder(bytes.NewReader(b))); err != nil {
		return nil, fmt.Errorf("reading the seccomp profile: %w", err)
	}
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("reading the seccomp profile: %w", err)
	}
	h := host{caps: caps, arch: arch}
	if p.asksKernel() {
		var err error
		if h.kernel, err = release(kernel); err != nil {
			return nil, fmt.Errorf("reading the seccomp profile: its conditions: %w", err)
		}
	}
	return p.render(h), nil
}

// position adds the line of an error in JSON, if it is known.
func position(b []byte, err error) error {
	var at int64 = -1
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		at = e.Offset
	} else if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		at = e.Offset
	}
	if at < 0 || at > int64(len(b)) {
		return err
	}
	return fmt.Errorf("line %d: %w", 1+bytes.Count(b[:at], []byte("\n")), err)
}

// fields are all that objects in a profile may have.
var fields = []string{
	"defaultAction", "defaultErrnoRet", "defaultErrno", "architectures", "archMap", "flags", "listenerPath", "listenerMetadata",
	"syscalls", "architecture", "subArchitectures", "names", "name", "action", "errnoRet", "errno", "args", "comment", "includes",
	"excludes", "index", "value", "valueTwo", "op", "caps", "arches", "minKernel",
}

// keys reads a value and refuses what encoding/json passes over: a field that is given twice, of
// which the last would win, and one in other letters, which would be taken for the same.
func keys(d *json.Decoder) error {
	t, err := d.Token()
	if t != json.Delim('{') && t != json.Delim('[') {
		return err
	}
	var seen []json.Token
	for d.More() {
		if t == json.Delim('{') {
			key, err := d.Token()
			if err != nil {
				return err
			}
			if name, ok := key.(string); !ok || !slices.Contains(fields, name) {
				return fmt.Errorf("unknown field %q", key)
			}
			if slices.Contains(seen, key) {
				return fmt.Errorf("%q is given twice", key)
			}
			seen = append(seen, key)
		}
		if err := keys(d); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}

// check refuses what has no meaning, and settles what can be said in two ways.
func (p *profile) check() error {
	if p.DefaultAction == "" {
		return errors.New("defaultAction is missing")
	}
	if len(p.Architectures) > 0 && len(p.ArchMap) > 0 {
		return errors.New("both architectures and archMap are given")
	}
	var err error
	if p.DefaultErrnoRet, err = errnoNamed(p.DefaultErrno, p.DefaultErrnoRet); err != nil {
		return err
	}
	if _, err := answer(p.DefaultAction, p.DefaultErrnoRet); err != nil {
		return fmt.Errorf("default action: %w", err)
	}
	for _, a := range p.archs() {
		if err := checkArch(a); err != nil {
			return err
		}
	}
	for i := range p.Syscalls {
		if err := p.Syscalls[i].check(); err != nil {
			return fmt.Errorf("rule %d: %w", i+1, err)
		}
	}
	_, err = flags(&specs.LinuxSeccomp{Flags: p.Flags, ListenerPath: p.ListenerPath, ListenerMetadata: p.ListenerMetadata})
	return err
}

func (p *profile) archs() []specs.Arch {
	all := p.Architectures
	for _, m := range p.ArchMap {
		all = append(append(slices.Clip(all), m.Architecture), m.SubArchitectures...)
	}
	return all
}

func (g *group) check() error {
	if g.Name != "" {
		if len(g.Names) > 0 {
			return errors.New("both name and names are given")
		}
		g.Names = []string{g.Name}
	}
	if len(g.Names) == 0 || slices.Contains(g.Names, "") {
		return errors.New("a system call without a name")
	}
	var err error
	if g.ErrnoRet, err = errnoNamed(g.Errno, g.ErrnoRet); err != nil {
		return err
	}
	if _, err := answer(g.Action, g.ErrnoRet); err != nil {
		return err
	}
	if _, err := alternatives(g.Args); err != nil {
		return err
	}
	return nil
}

// errnoNamed joins the two ways to say an error number.
func errnoNamed(name string, n *uint) (*uint, error) {
	if name == "" {
		return n, nil
	}
	for e := uint(1); e < 200; e++ {
		if unix.ErrnoName(unix.Errno(e)) == name {
			if n != nil && *n != e {
				return nil, fmt.Errorf("error number %d is not %s", *n, name)
			}
			return &e, nil
		}
	}
	return nil, fmt.Errorf("unknown error name %q", name)
}

// render gives the profile for one process on one machine, without conditions.
func (p *profile) render(h host) *specs.LinuxSeccomp {
	s := &specs.LinuxSeccomp{
		DefaultAction: p.DefaultAction, DefaultErrnoRet: clone(p.DefaultErrnoRet), Architectures: slices.Clone(p.Architectures),
		Flags: p.Flags, ListenerPath: p.ListenerPath, ListenerMetadata: p.ListenerMetadata,
	}
	if archs := reachable(h.arch); archs != nil {
		for _, m := range p.ArchMap {
			if m.Architecture == archs[0] {
				s.Architectures = append(append(s.Architectures, m.Architecture), m.SubArchitectures...)
				break
			}
		}
	}
	for _, g := range p.Syscalls {
		if g.applies(h) {
			s.Syscalls = append(s.Syscalls, specs.LinuxSyscall{
				Names: slices.Clone(g.Names), Action: g.Action, ErrnoRet: clone(g.ErrnoRet), Args: slices.Clone(g.Args),
			})
		}
	}
	return s
}

func clone(p *uint) *uint {
	if p == nil {
		return nil
	}
	return new(*p)
}

// applies says whether a rule is one for this machine and process. Of the capabilities that
// include a rule all must be there; of those that exclude it, one is enough.
func (g *group) applies(h host) bool {
	has := func(c string) bool { return slices.Contains(h.caps, c) }
	hasNot := func(c string) bool { return !has(c) }
	if x := g.Excludes; x != nil {
		if slices.Contains(x.Arches, h.arch) || slices.ContainsFunc(x.Caps, has) || x.MinKernel != (version{}) && h.since(x.MinKernel) {
			return false
		}
	}
	i := g.Includes
	return i == nil || (len(i.Arches) == 0 || slices.Contains(i.Arches, h.arch)) && !slices.ContainsFunc(i.Caps, hasNot) && h.since(i.MinKernel)
}

func (p *profile) asksKernel() bool {
	return slices.ContainsFunc(p.Syscalls, func(g group) bool {
		return g.Includes != nil && g.Includes.MinKernel != (version{}) || g.Excludes != nil && g.Excludes.MinKernel != (version{})
	})
}

// version is a kernel's, as far as conditions look at it.
type version struct{ kernel, major int }

func (h host) since(v version) bool {
	return h.kernel.kernel > v.kernel || h.kernel.kernel == v.kernel && h.kernel.major >= v.major
}

// UnmarshalJSON reads the version in a condition: a string of two numbers and nothing else, or "".
func (v *version) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil || s == "" {
		return err
	}
	kernel, major, _ := strings.Cut(s, ".")
	k, err1 := strconv.ParseUint(kernel, 10, 8)
	m, err2 := strconv.ParseUint(major, 10, 8)
	if err1 != nil || err2 != nil || k == 0 && m == 0 {
		return fmt.Errorf("minKernel %q: not of the form 4.8", s)
	}
	*v = version{int(k), int(m)}
	return nil
}

// release reads the machine's version: 6.1.0-28-amd64, 3.12-1-amd64, 6.18-rc1.
func release(s string) (version, error) {
	var v version
	if _, err := fmt.Sscanf(s, "%d.%d", &v.kernel, &v.major); err != nil {
		return v, fmt.Errorf("kernel release %q: it does not begin with two numbers", s)
	}
	return v, nil
}
