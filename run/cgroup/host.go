package cgroup

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// maxMountinfo bounds /proc/self/mountinfo; 100,000 mounts (fs.mount-max) of
// ordinary length fit.
const maxMountinfo = 16 << 20

// hierarchy is one cgroup file system as we see it.
type hierarchy struct {
	version     int
	mount       string // where it is mounted
	root        string // which of its cgroups is mounted there
	own         string // the cgroup we are in
	under       string // the cgroup to make groups in, "" for the best there is
	controllers []string
}

// host is what /proc says about cgroups; one look serves one New.
type host struct {
	v1   map[string]*hierarchy // by controller; named hierarchies are left out
	v2   *hierarchy
	swap bool // there is something to swap to
}

func readHost(under string) (*host, error) {
	mounts, err := readFile(unix.AT_FDCWD, "/proc/self/mountinfo", maxMountinfo)
	if err != nil {
		return nil, fmt.Errorf("finding the cgroup file systems: %w", err)
	}
	own, err := readFile(unix.AT_FDCWD, "/proc/self/cgroup", 1<<20)
	if err != nil {
		return nil, fmt.Errorf("finding our own cgroup: %w", err)
	}
	h := parseHost(mounts, own)
	h.place(under)
	// A kernel without CONFIG_SWAP has no such file; a header line is always there.
	swaps, _ := readFile(unix.AT_FDCWD, "/proc/swaps", 1<<20)
	h.swap = bytes.Count(swaps, []byte("\n")) > 1
	return h, nil
}

// place sets where groups are to be made.
func (h *host) place(under string) {
	for _, m := range h.v1 {
		m.under = under
	}
	if h.v2 != nil {
		h.v2.under = under
	}
}

// parseHost joins the two lists: mountinfo (proc_pid_mountinfo(5)) and
// /proc/self/cgroup (cgroups(7)).
func parseHost(mountinfo, self []byte) *host {
	h := &host{v1: map[string]*hierarchy{}}
	own := map[string]string{} // by controller, "" for v2
	for line := range strings.Lines(string(self)) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(f) != 3 || !strings.HasPrefix(f[2], "/") {
			continue
		}
		for c := range strings.SplitSeq(f[1], ",") {
			own[c] = f[2]
		}
	}
	for line := range strings.Lines(string(mountinfo)) {
		if m := parseMount(line, own); m != nil {
			h.add(m)
		}
	}
	return h
}

// add notes m unless an earlier mount of the same hierarchy shows us our own
// cgroup, and m does not.
func (h *host) add(m *hierarchy) {
	better := func(old *hierarchy) bool {
		return old == nil || old.at(old.own) == "" && m.at(m.own) != ""
	}
	if m.version == 2 {
		if better(h.v2) {
			h.v2 = m
		}
		return
	}
	for _, c := range m.controllers {
		if better(h.v1[c]) {
			h.v1[c] = m
		}
	}
}

// parseMount returns the hierarchy that a mountinfo line shows, or nil.
func parseMount(line string, own map[string]string) *hierarchy {
	front, back, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " - ")
	f, b := strings.Fields(front), strings.Fields(back)
	if !ok || len(f) < 6 || len(b) < 3 {
		return nil
	}
	m := &hierarchy{root: unescape(f[3]), mount: unescape(f[4])}
	switch b[0] {
	case "cgroup2":
		m.version, m.own = 2, own[""]
		return m
	case "cgroup":
		// The super block's options hold the controllers among others (xattr,
		// clone_children …); those which /proc/self/cgroup knows are controllers.
		for o := range strings.SplitSeq(b[2], ",") {
			if _, ok := own[o]; ok && o != "" && !strings.HasPrefix(o, "name=") {
				m.controllers = append(m.controllers, o)
			}
		}
		if len(m.controllers) == 0 {
			return nil
		}
		m.version, m.own = 1, own[m.controllers[0]]
		return m
	}
	return nil
}

// at is the directory of cgroup cg, or "" if the mount doesn't reach it (inside
// a container whose cgroup namespace is not that of its mounts, for one).
func (m *hierarchy) at(cg string) string {
	if m.root == "/" {
		return path.Join(m.mount, cg)
	}
	if rest, ok := strings.CutPrefix(cg, m.root); ok && (rest == "" || rest[0] == '/') {
		return path.Join(m.mount, rest)
	}
	return ""
}

// parents are the directories in which to make the group, best first. On v1
// that is our own cgroup, whose limits go on holding. On v2 a cgroup cannot hold
// both processes and limited children (cgroups(7), "no internal processes")
// unless it is the real root: so the root of the mount if we may, else beside
// our own cgroup, where a user's delegated tree lets us, else beneath it.
func (m *hierarchy) parents() []string {
	if m.under != "" {
		if at := m.at(m.under); at != "" {
			return []string{at}
		}
		return nil
	}
	own := m.at(m.own)
	if m.version == 1 {
		if own == "" {
			return nil
		}
		return []string{own}
	}
	list := []string{m.mount}
	if own != "" && own != m.mount {
		list = append(list, path.Dir(own), own)
	}
	return slices.Compact(list)
}

// paths are the directories a group could have, in every hierarchy.
func (h *host) paths(base string) []string {
	var paths []string
	add := func(m *hierarchy) {
		for _, p := range m.parents() {
			if p = path.Join(p, base); !slices.Contains(paths, p) {
				paths = append(paths, p)
			}
		}
	}
	for _, m := range h.v1 {
		add(m)
	}
	if h.v2 != nil {
		add(h.v2)
	}
	slices.Sort(paths)
	return paths
}

// unescape undoes mountinfo's \ooo for space, tab, newline and backslash.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && octal(s[i+1:i+4]) {
			b.WriteByte((s[i+1]-'0')<<6 | (s[i+2]-'0')<<3 | (s[i+3] - '0'))
			i += 3
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func octal(s string) bool {
	return s[0] >= '0' && s[0] <= '3' && s[1] >= '0' && s[1] <= '7' && s[2] >= '0' && s[2] <= '7'
}
