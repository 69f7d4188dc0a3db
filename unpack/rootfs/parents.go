package rootfs

import (
	"path"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// keptParents is how many directories stay open: entries of an archive come directory by directory, with short trips elsewhere.
const keptParents = 32

// parent is an open directory, shared by whoever is to create something in it. The last of them closes it.
type parent struct {
	fd    int
	users atomic.Int32
}

func newParent(fd int) *parent {
	p := &parent{fd: fd}
	p.users.Store(1)
	return p
}

func (p *parent) release() {
	if p.users.Add(-1) == 0 {
		unix.Close(p.fd)
	}
}

// parents remembers those last opened, by names that are clean and lead through no link: what such a name means changes only if the
// directory or one above it goes.
type parents struct {
	names [keptParents]string
	open  [keptParents]*parent
	last  int // most used
	next  int // to be replaced
}

func (ps *parents) get(name string) *parent {
	if p := ps.open[ps.last]; p != nil && ps.names[ps.last] == name {
		return p
	}
	for i, p := range ps.open {
		if p != nil && ps.names[i] == name {
			ps.last = i
			return p
		}
	}
	return nil
}

func (ps *parents) put(name string, p *parent) {
	if old := ps.open[ps.next]; old != nil {
		old.release()
	}
	p.users.Add(1)
	ps.names[ps.next], ps.open[ps.next] = name, p
	ps.last = ps.next
	ps.next = (ps.next + 1) % keptParents
}

// forget drops name and all below it; "" is the root.
func (ps *parents) forget(name string) {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	for i, p := range ps.open {
		if p == nil {
			continue
		}
		rest, below := strings.CutPrefix(ps.names[i], name)
		if name == "" || below && (rest == "" || rest[0] == '/') {
			p.release()
			ps.open[i] = nil
		}
	}
}

// parent returns the directory that name's last component is in, to be released, and that component.
func (d *Dir) parent(name string) (*parent, string, error) {
	dir, base := split(name)
	if base == "" || base == "." || base == ".." {
		return nil, "", unix.EINVAL
	}
	if p := d.parents.get(dir); p != nil {
		p.users.Add(1)
		return p, base, nil
	}
	clean := dir == "" || path.Clean(dir) == dir && dir[0] != '/' && !strings.HasPrefix(dir, "..")
	if clean {
		fd, err := d.lookup(d.root, dir, unix.O_DIRECTORY|noLinks)
		if err == nil {
			p := newParent(fd)
			d.parents.put(dir, p)
			return p, base, nil
		}
		if err != unix.ELOOP {
			return nil, "", err
		}
	}
	fd, err := d.lookup(d.root, dir, unix.O_DIRECTORY)
	if err != nil {
		return nil, "", err
	}
	return newParent(fd), base, nil
}
