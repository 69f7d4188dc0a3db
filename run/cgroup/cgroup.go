// Package cgroup starts processes under limits, on v1, v2 and both.
//
// The verb is start in the group, not move into it: a child is born in its
// group, so it never runs a single instruction without its limits and nobody
// waits for the kernel to migrate it (cgroups(7); 5–20 ms on v1, an RCU grace
// period). On v2 the child is cloned with CLONE_INTO_CGROUP and Fd; on v1 the
// launching thread joins the groups and its child inherits them. Each
// controller is taken from the hierarchy that has it, so a machine that keeps
// some on v1 and some on v2 needs no mode of its own. A caller does the same
// everywhere:
//
//	g, err := cgroup.New(id, spec.Linux.Resources)
//	// … on a locked thread that is not the main one:
//	err = g.Join()
//	// clone the child, into g.Fd() if that is not -1
//	err = g.Leave()
//	// … wait for the child, ask g.Events() why it died
//	err = errors.Join(g.Kill(), g.Remove())
//
// A limit that was asked for and cannot be set is an error, never a warning:
// New then removes what it has made. The device allowlist of the spec is not
// a limit and is not handled here. On v1, blkio limits see direct and
// synchronous I/O only; writes that go through the page cache pass them by
// (Documentation/admin-guide/cgroup-v1/blkio-controller.rst).
package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// ErrUnavailable says that this machine, or this user on it, cannot set a
// limit; the error around it names the limit and the controller.
var ErrUnavailable = errors.New("not available here")

// prefix marks our directories, so that Clean cannot be talked into another's.
const prefix = "umiak-"

// Group is the set of cgroup directories that hold one container's limits. It
// is empty where nothing is to be limited; every method works on that, too.
// Its methods are for one goroutine at a time.
type Group struct {
	dirs []*dir
	tid  int // the thread that Join has moved in, 0 for none
}

// New makes the group called name and sets in it the limits r asks for. A name PARENT/NAME puts it
// beneath PARENT, which must be there, counted from the root of each hierarchy. Without
// any, v1 gets no group (each costs the launching thread a move) and v2 gets
// one if we may make it, for Kill's sake.
func New(name string, r *specs.LinuxResources) (*Group, error) { return newGroup(name, r, false) }

// NewMeasured is New for a group whose Stats are wanted: it has the controllers
// that count, too, where they can be had. One that can't be is no error.
func NewMeasured(name string, r *specs.LinuxResources) (*Group, error) {
	return newGroup(name, r, true)
}

func newGroup(name string, r *specs.LinuxResources, measured bool) (*Group, error) {
	under, name, err := splitName(name)
	if err != nil {
		return nil, err
	}
	want, err := parse(r)
	if err != nil {
		return nil, err
	}
	want.measured = measured
	h, err := readHost(under)
	if err != nil {
		return nil, err
	}
	want.noSwap = !h.swap
	g := &Group{}
	if err := g.build(h, name, want); err != nil {
		return nil, errors.Join(err, g.Remove())
	}
	return g, nil
}

// build makes the directories and sets the limits, one hierarchy after another.
func (g *Group) build(h *host, name string, want *wanted) error {
	jobs, err := h.assign(want)
	if err != nil {
		return err
	}
	for _, j := range jobs {
		if j.hierarchy.version == 2 {
			err = g.buildV2(j, name)
		} else {
			err = g.buildV1(j, name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// job is what is to be set in one hierarchy.
type job struct {
	hierarchy *hierarchy
	settings  []setting
	counting  []string // v2 controllers that are to count, if they can be had
}

// limit names a limit and its controller for an error about the whole job.
func (j *job) limit() (limit, controller string) {
	if len(j.settings) == 0 {
		return "", ""
	}
	return j.settings[0].limit, j.settings[0].controller
}

// assign deals the settings out to the hierarchies: a controller is on v1 if it
// is mounted there, since the kernel attaches each to one hierarchy only.
func (h *host) assign(want *wanted) ([]job, error) {
	var jobs []job
	add := func(at *hierarchy, s ...setting) {
		for i := range jobs {
			if jobs[i].hierarchy == at {
				jobs[i].settings = append(jobs[i].settings, s...)
				return
			}
		}
		jobs = append(jobs, job{hierarchy: at, settings: s})
	}
	for _, s := range v1Settings(want) {
		if at := h.v1[s.controller]; at != nil {
			add(at, s)
		}
	}
	if want.measured {
		// Not cpu: it counts nothing without a quota, and refuses real-time threads.
		// Not blkio: what it counts can't be relied on (see Stats).
		for _, c := range []string{"cpuacct", "memory", "pids"} {
			if at := h.v1[c]; at != nil {
				add(at)
			}
		}
	}
	if at := h.v1["freezer"]; at != nil && len(jobs) > 0 {
		add(at) // no limit: it lets Kill stop a group that forks faster than we signal
	}
	if h.v2 != nil && len(h.v1) == 0 {
		add(h.v2)
	}
	for _, s := range v2Settings(want) {
		if h.v1[v1Name(s.controller)] != nil {
			continue
		}
		if h.v2 == nil {
			return nil, unavailable(s.limit, s.controller, errors.New("is in no mounted hierarchy"))
		}
		add(h.v2, s)
	}
	for i := range jobs {
		if want.measured && jobs[i].hierarchy.version == 2 {
			jobs[i].counting = []string{"memory", "pids", "io"} // cpu time is counted anyway
		}
	}
	return jobs, nil
}

// Fd is the v2 directory for CLONE_INTO_CGROUP, or -1 where there is none.
func (g *Group) Fd() int {
	for _, d := range g.dirs {
		if d.version == 2 {
			return d.fd()
		}
	}
	return -1
}

// Paths are the directories that somebody must remove if we die (see Clean).
func (g *Group) Paths() []string {
	var paths []string
	for _, d := range g.dirs {
		paths = append(paths, d.path)
	}
	return paths
}

// PathsOf are the directories that New would make for name, were every limit
// asked for. A caller that notes them before New can be killed at any moment
// and still be cleaned up after.
func PathsOf(name string) ([]string, error) {
	under, name, err := splitName(name)
	if err != nil {
		return nil, err
	}
	h, err := readHost(under)
	if err != nil {
		return nil, err
	}
	return h.paths(prefix + name), nil
}

// unavailable is an ErrUnavailable about one limit; why continues "controller x".
func unavailable(limit, controller string, why error) error {
	return fmt.Errorf("setting the %s: %w: cgroup controller %s: %w", limit, ErrUnavailable, controller, why)
}

// denied reports whether err says that we may not, rather than that we asked wrongly.
func denied(err error) bool {
	return errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EROFS)
}

// splitName tells a parent, a path from the root of each hierarchy, from the group's own name.
func splitName(s string) (under, name string, err error) {
	under, name = path.Split(s)
	if slices.Contains(strings.Split(under, "/"), "..") || strings.Contains(under, "\x00") {
		return "", "", fmt.Errorf("placing a cgroup beneath %q: want a path without ..", under)
	}
	if under != "" {
		under = path.Clean("/" + under)
	}
	return under, name, checkName(name)
}

// checkName takes one path component that needs no quoting anywhere.
func checkName(name string) error {
	ok := name != "" && len(name) <= 128 && name[0] != '.' && name[0] != '-'
	for i := range len(name) {
		c := name[i]
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.')
	}
	if !ok {
		return fmt.Errorf("naming cgroup %q: want 1 to 128 letters, digits, '-', '_' and '.'", name)
	}
	return nil
}

// dir is one directory of the group, known by its descriptors from the moment
// it is made: whoever renames a parent meanwhile cannot lead us elsewhere.
type dir struct {
	version int
	path    string // for messages and for Clean; never opened again
	base    string // its name in parent
	parent  *os.File
	self    *os.File
	room    []write // to be set while the launching thread is in (v1) …
	noRoom  []write // … and else
}

func (d *dir) fd() int { return int(d.self.Fd()) }

func (d *dir) close() {
	d.self.Close()
	d.parent.Close()
}
