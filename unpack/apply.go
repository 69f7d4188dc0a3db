package unpack

import (
	"archive/tar"
	"fmt"
	"io/fs"
	"strings"

	"github.com/umiak/umiak/unpack/rootfs"
)

// sink is where the survivors go: a directory tree, or an image of one. Names are relative, clean and free of symbolic links,
// parents exist, and nothing is created where something is.
type sink interface {
	Mkdir(name string) error
	WriteFile(name string, c *contents, a rootfs.Attrs) error
	Symlink(target, name string, a rootfs.Attrs) error
	Link(old, name string) error
	Mknod(name string, n rootfs.Node, a rootfs.Attrs) error
	Remove(name string) error    // anything but a directory
	RemoveAll(name string) error // a directory
	// Flush comes at the end of each layer: what was put off is done, or has failed.
	Flush() error
	// SetAttrs comes once for each directory, deepest first, when all layers are applied; "." is the root.
	SetAttrs(name string, a rootfs.Attrs) error
}

// engine applies entries to a model of the tree and passes on to the sink what that takes.
type engine struct {
	sink   sink
	root   *node
	limits limits
	stats  Stats
	layer  int // index of the layer being applied

	// The last parent entered, by the name as spelled: entries come directory by directory.
	lastName string
	last     *node
	lastPath string
}

func newEngine(to sink, o Options) *engine {
	return &engine{sink: to, limits: limits{Options: o}, root: newRoot()}
}

// applier creates one entry at a place where nothing else is any more, but for a directory when a directory comes.
type applier func(e *engine, at place, h *tar.Header, c *contents) error

// applierFor is the table of what each type of entry means; nil: unknown to us.
func applierFor(flag byte) applier {
	switch flag {
	case tar.TypeDir:
		return (*engine).directory
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		return (*engine).file
	case tar.TypeSymlink:
		return (*engine).symlink
	case tar.TypeLink:
		return (*engine).hardLink
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return (*engine).special
	}
	return nil
}

// apply applies one entry of a layer.
func (e *engine) apply(h *tar.Header, c *contents) error {
	if err := e.limits.entry(h); err != nil {
		return err
	}
	e.stats.Entries++
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil // git archive's comment, mostly; nothing in it applies to what we keep
	}
	name, err := cleanName(h.Name)
	if err != nil {
		return err
	}
	parent, base := splitName(name)
	switch hidden, kind := classify(parent, base); kind {
	case metadata:
		return nil
	case reserved:
		return fmt.Errorf("%w: the prefix %q is for whiteouts", ErrUnsafe, whiteoutPrefix)
	case whiteout:
		return e.whiteout(parent, hidden)
	case opaque:
		return e.opaque(parent)
	}
	apply := applierFor(h.Typeflag)
	if apply == nil {
		return fmt.Errorf("unknown type %q of entry", h.Typeflag)
	}
	if base == "" {
		return e.rootEntry(h)
	}
	at, err := e.enter(parent, base)
	if err != nil {
		return err
	}
	return apply(e, at, h, c)
}

// rootEntry applies an entry for the root itself. Only its attributes are the image's to choose: were "." a link, all that follows
// would be written to where it points (CVE-2021-29136).
func (e *engine) rootEntry(h *tar.Header) error {
	if h.Typeflag != tar.TypeDir {
		return fmt.Errorf("%w: it would replace the root directory", ErrUnsafe)
	}
	a, err := e.attrs(h)
	if err != nil {
		return err
	}
	e.root.dir.attrs, e.root.dir.own = a, e.layer
	return nil
}

func (e *engine) directory(at place, h *tar.Header, _ *contents) error {
	a, err := e.attrs(h)
	if err != nil {
		return err
	}
	n := at.node()
	if n == nil || n.dir == nil {
		if n, err = e.mkdir(at); err != nil {
			return err
		}
	}
	n.layer, n.dir.own, n.dir.attrs = e.layer, e.layer, a
	return nil
}

func (e *engine) file(at place, h *tar.Header, c *contents) error {
	a, err := e.attrs(h)
	if err != nil {
		return err
	}
	if err := e.clear(at); err != nil {
		return err
	}
	e.stats.Bytes += h.Size
	e.add(at, &node{})
	return e.sink.WriteFile(at.path, c, a)
}

func (e *engine) symlink(at place, h *tar.Header, _ *contents) error {
	if err := e.limits.target(h.Linkname); err != nil {
		return err
	}
	a, err := e.attrs(h)
	if err != nil {
		return err
	}
	if err := e.clear(at); err != nil {
		return err
	}
	e.add(at, &node{link: true, target: h.Linkname})
	return e.sink.Symlink(h.Linkname, at.path, a)
}

func (e *engine) hardLink(at place, h *tar.Header, _ *contents) error {
	target, err := e.find(h.Linkname)
	if err != nil {
		return err
	}
	old := at.node()
	if old == target {
		old.layer = e.layer
		return nil // its own name: making room for the link first would lose the file
	}
	if old != nil && target.below(old) {
		return fmt.Errorf("%w: a hard link in place of the directory its target is in", ErrUnsafe)
	}
	path := target.path()
	if err := e.clear(at); err != nil {
		return err
	}
	e.add(at, &node{link: target.link, target: target.target})
	return e.sink.Link(path, at.path)
}

// find looks up the target of a hard link: a name in the root, its parents resolved, itself not followed.
func (e *engine) find(name string) (*node, error) {
	name, err := cleanName(name)
	if err != nil {
		return nil, fmt.Errorf("target of hard link: %w", err)
	}
	if err := e.limits.path(name); err != nil {
		return nil, err
	}
	parent, base := splitName(name)
	dir, err := e.resolve(parent)
	if err != nil {
		return nil, err
	}
	n := e.root
	if base != "" {
		if n = nil; dir != nil {
			n = dir.dir.kids[base]
		}
	}
	switch {
	case n == nil:
		return nil, fmt.Errorf("target of hard link %s is not there", quote(name))
	case n.dir != nil:
		return nil, fmt.Errorf("%w: hard link to the directory %s", ErrUnsafe, quote(name))
	}
	return n, nil
}

func (e *engine) special(at place, h *tar.Header, _ *contents) error {
	n, err := nodeOf(h)
	if err != nil {
		return err
	}
	a, err := e.attrs(h)
	if err != nil {
		return err
	}
	if err := e.clear(at); err != nil {
		return err
	}
	e.add(at, &node{})
	return e.sink.Mknod(at.path, n, a)
}

// nodeOf refuses numbers that mknod(2) would cut to its 12 and 20 bits: that would be another device.
func nodeOf(h *tar.Header) (rootfs.Node, error) {
	if h.Typeflag == tar.TypeFifo {
		return rootfs.Node{Type: fs.ModeNamedPipe}, nil
	}
	if h.Devmajor < 0 || h.Devmajor >= 1<<12 || h.Devminor < 0 || h.Devminor >= 1<<20 {
		return rootfs.Node{}, fmt.Errorf("%w: there is no device %d:%d", ErrUnsafe, h.Devmajor, h.Devminor)
	}
	n := rootfs.Node{Type: fs.ModeDevice, Major: uint32(h.Devmajor), Minor: uint32(h.Devminor)}
	if h.Typeflag == tar.TypeChar {
		n.Type |= fs.ModeCharDevice
	}
	return n, nil
}

// finish gives directories their attributes, deepest first.
func (e *engine) finish(n *node, path string) error {
	for name, kid := range n.dir.kids {
		if kid.dir == nil {
			continue
		}
		if err := e.finish(kid, strings.TrimPrefix(path+"/"+name, "/")); err != nil {
			return err
		}
	}
	if path == "" {
		path = "."
	}
	return e.sink.SetAttrs(path, n.dir.attrs)
}
