package unpack

import (
	"fmt"
	"strings"
	"time"

	"github.com/umiak/umiak/unpack/rootfs"
)

// maxLinks is how many symbolic links may be met on the way to one parent: path_resolution(7)'s figure.
const maxLinks = 40

// node is one name of the tree. Of what it names, only that is kept which decides about later entries.
type node struct {
	parent *node
	name   string
	dir    *dirNode // directories only
	target string   // where a symbolic link points
	link   bool     // is a symbolic link
	// layer is the last one that wrote this name, or a name below it. All names of the layer in hand are those that its
	// whiteouts must spare: the touched set, without a set to build and clear.
	layer int
}

type dirNode struct {
	kids map[string]*node
	// attrs wait here until everything is in place: children change a directory's time, later layers its attributes.
	attrs rootfs.Attrs
	own   int // the last layer that had an entry for the directory itself
}

// implied are the attributes of a directory that no entry describes. A fixed time keeps equal images equal.
func implied() rootfs.Attrs { return rootfs.Attrs{Mode: 0o755, ModTime: time.Unix(0, 0)} }

func newRoot() *node {
	return &node{layer: -1, dir: &dirNode{kids: map[string]*node{}, attrs: implied(), own: -1}}
}

func (n *node) path() string {
	if n.parent == nil {
		return ""
	}
	var parts []string
	for ; n.parent != nil; n = n.parent {
		parts = append(parts, n.name)
	}
	for i, j := 0, len(parts)-1; i < j; i, j = i+1, j-1 {
		parts[i], parts[j] = parts[j], parts[i]
	}
	return strings.Join(parts, "/")
}

func (n *node) below(top *node) bool {
	for ; n != nil; n = n.parent {
		if n == top {
			return true
		}
	}
	return false
}

// place is a name in a directory, whether or not there is something.
type place struct {
	parent *node
	base   string
	path   string // of the place, from the root
}

func (p place) node() *node { return p.parent.dir.kids[p.base] }

// enter finds the directory of an entry as a chroot would, makes what is missing of it, and marks it as touched.
func (e *engine) enter(parent, base string) (place, error) {
	if e.last == nil || e.lastName != parent {
		n, err := e.walk(parent, true)
		if err != nil {
			return place{}, err
		}
		e.last, e.lastName, e.lastPath = n, parent, n.path()
	}
	e.touch(e.last)
	return e.placeIn(e.last, e.lastPath, base)
}

func (e *engine) placeIn(dir *node, path, base string) (place, error) {
	at := place{parent: dir, base: base, path: base}
	if path != "" {
		at.path = path + "/" + base
	}
	// Links can make a tree deeper than any single name in the layer shows.
	if err := e.limits.path(at.path); err != nil {
		return place{}, err
	}
	return at, nil
}

// resolve is enter for names that need not be there: nil if they aren't, and nothing changes.
func (e *engine) resolve(parent string) (*node, error) { return e.walk(parent, false) }

func (e *engine) walk(name string, create bool) (*node, error) {
	at, rest, links := e.root, components(name), 0
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..": // only in targets of links
			if at.parent != nil {
				at = at.parent
			}
			continue
		}
		kid := at.dir.kids[part]
		switch {
		case kid != nil && kid.dir != nil:
			at = kid
		case kid != nil && kid.link:
			if links++; links > maxLinks {
				return nil, fmt.Errorf("%w: more than %d symbolic links on the way to %s", ErrUnsafe, maxLinks, quote(name))
			}
			if strings.HasPrefix(kid.target, "/") {
				at = e.root
			}
			rest = append(components(kid.target), rest...)
		case !create:
			return nil, nil
		case kid != nil && kid.layer == e.layer:
			return nil, fmt.Errorf("%w: %s, on the way to it, is not a directory in the same layer", ErrUnsafe, quote(kid.path()))
		default:
			var err error
			if at, err = e.imply(at, part); err != nil {
				return nil, err
			}
		}
	}
	return at, nil
}

// imply makes a directory that has no entry of its own. A lower layer's file in its place goes, as it would be hidden in an overlay.
func (e *engine) imply(parent *node, base string) (*node, error) {
	at, err := e.placeIn(parent, parent.path(), base)
	if err != nil {
		return nil, err
	}
	return e.mkdir(at)
}

func (e *engine) mkdir(at place) (*node, error) {
	if err := e.clear(at); err != nil {
		return nil, err
	}
	n := &node{dir: &dirNode{kids: map[string]*node{}, attrs: implied(), own: -1}}
	e.add(at, n)
	return n, e.sink.Mkdir(at.path)
}

// touch marks n as written by the layer in hand. What is above a touched name is touched, so the climb ends at the first that is.
func (e *engine) touch(n *node) {
	for ; n != nil && n.layer != e.layer; n = n.parent {
		n.layer = e.layer
	}
}

func (e *engine) add(at place, n *node) {
	e.touch(at.parent)
	n.parent, n.name, n.layer = at.parent, at.base, e.layer
	at.parent.dir.kids[at.base] = n
}

// clear makes room for an entry: whatever had the name goes, never written through or into (other names of the same inode keep it).
func (e *engine) clear(at place) error {
	if n := at.node(); n != nil {
		return e.remove(n)
	}
	return nil
}

func (e *engine) remove(n *node) error {
	if n.dir != nil || n.link {
		e.last = nil // it may have been on the way to the remembered parent
	}
	path := n.path()
	delete(n.parent.dir.kids, n.name)
	if n.dir == nil {
		return e.sink.Remove(path)
	}
	return e.sink.RemoveAll(path)
}
