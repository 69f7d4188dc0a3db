package unpack

import (
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var (
	overlayStacks = flag.Int("overlay.stacks", 200, "stacks of random layers to compare with overlayfs")
	overlaySeed   = flag.Uint64("overlay.seed", 1, "first seed of them")
)

// TestOverlay compares us with the kernel: random layers, each extracted by itself into a directory as overlayfs wants it, all
// mounted over one another, must show the tree that we make of their tars.
func TestOverlay(t *testing.T) {
	dir := tmpfs(t, "size=512m")
	needUserXattrs(t, dir)
	for i := range *overlayStacks {
		seed := *overlaySeed + uint64(i)
		place := filepath.Join(dir, fmt.Sprint(i))
		must(t, os.Mkdir(place, 0o755))
		if !overlayAgrees(t, seed, place) {
			t.Fatalf("to see it again: -overlay.seed=%d -overlay.stacks=1", seed)
		}
		must(t, os.RemoveAll(place))
	}
}

func overlayAgrees(t *testing.T, seed uint64, place string) bool {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 0)), links: map[string]bool{}}
	var lowers []string
	var tars [][]byte
	for i := range 1 + g.IntN(6) {
		l := g.layer()
		lower := filepath.Join(place, fmt.Sprint("l", i))
		extractForOverlay(t, l, lower)
		lowers = append([]string{lower}, lowers...)
		layer := tarOf(t, g.stream(l))
		switch seed % 3 {
		case 1:
			layer = gz(t, layer)
		case 2:
			layer = zst(t, layer)
		}
		tars = append(tars, layer)
	}
	bottom, merged, flat := filepath.Join(place, "bottom"), filepath.Join(place, "merged"), filepath.Join(place, "flat")
	for _, d := range []string{bottom, merged, flat} {
		must(t, os.Mkdir(d, 0o755))
	}
	// Without an upper layer overlayfs wants two: the empty one adds nothing.
	options := "lowerdir=" + strings.Join(append(lowers, bottom), ":")
	if err := unix.Mount("overlay", merged, "overlay", unix.MS_RDONLY, options); err != nil {
		t.Skipf("needs root: mounting an overlay: %v", err)
	}
	defer unix.Unmount(merged, unix.MNT_DETACH)
	_, err := flattenTo(t, flat, plain(tars...), Options{LibraryGzip: seed%2 == 0})
	must(t, err)
	diff := diffTrees(dumpTree(t, flat), dumpTree(t, merged))
	for _, d := range diff {
		t.Error(d)
	}
	return len(diff) == 0
}

// layerModel is what one layer says, before it is put in tar's words or in overlayfs's.
type layerModel struct {
	entries   map[string]entry // directories with all their parents, "." first of all
	whiteouts map[string]bool  // names hidden, of which some may have an entry as well
	opaque    map[string]bool
}

type generator struct {
	*rand.Rand
	links map[string]bool // where any layer so far has a symbolic link
}

// Few names, so that layers meet.
var poolNames = []string{"a", "b", "c", "d"}

func (g *generator) layer() layerModel {
	l := layerModel{map[string]entry{}, map[string]bool{}, map[string]bool{}}
	l.entries["."] = g.attrs(entry{typ: "dir", name: "."})
	dirs := []string{"."}
	for range g.IntN(25) {
		name := path.Join(dirs[g.IntN(len(dirs))], poolNames[g.IntN(len(poolNames))])
		switch _, taken := l.entries[name]; {
		case g.IntN(6) == 0:
			l.whiteouts[name] = true
		case taken:
		default:
			e := g.entry(l, name)
			l.entries[name] = e
			if e.typ == "dir" {
				dirs = append(dirs, name)
				l.opaque[name] = g.IntN(5) == 0
			}
		}
	}
	return l
}

func (g *generator) entry(l layerModel, name string) entry {
	types := []string{"dir", "dir", "dir", "file", "file", "file", "sym", "fifo", "char", "block", "link", "link"}
	if strings.Count(name, "/") > 3 {
		types = types[3:]
	}
	e := entry{typ: types[g.IntN(len(types))], name: name}
	switch e.typ {
	case "file":
		e.content = strings.Repeat(fmt.Sprint(g.IntN(100)), g.IntN(50))
	case "sym":
		e.target = []string{"a", "/b/c", "../d", "../../../..", "none", "/etc/passwd"}[g.IntN(6)]
	case "char", "block":
		e.major, e.minor = 1+g.Int64N(4095), g.Int64N(1<<20)
	case "link":
		others := slices.Sorted(maps.Keys(l.entries))
		if target := l.entries[others[g.IntN(len(others))]]; target.typ != "dir" && target.typ != "link" {
			e.target = target.name
			return e
		}
		e.typ = "file"
	}
	return g.attrs(e)
}

func (g *generator) attrs(e entry) entry {
	e.uid, e.gid, e.mtime = g.IntN(5)*g.IntN(70000), g.IntN(5)*1000, g.Int64N(2e9)
	e.mode = int64(g.IntN(0o10000))
	if e.typ == "sym" {
		e.mode = 0o777
	}
	e.xattrs = map[string]string{}
	if g.IntN(3) == 0 {
		e.xattrs["trusted.t"] = fmt.Sprint(g.IntN(100))
	}
	if g.IntN(3) == 0 && (e.typ == "dir" || e.typ == "file") {
		e.xattrs["user.u"] = fmt.Sprint(g.IntN(100))
	}
	if g.IntN(4) == 0 && e.typ == "file" {
		e.xattrs["security.capability"] = "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	}
	return e
}

// stream puts the layer's entries in an order of its own: parents and whiteouts anywhere, but links after their targets. Where a
// lower layer has a link in a directory's place, what is in it comes after it: before, the names would lead through the link.
func (g *generator) stream(l layerModel) []entry {
	var list []entry
	for _, name := range slices.Sorted(maps.Keys(l.entries)) {
		list = append(list, l.entries[name])
	}
	for name := range l.whiteouts {
		list = append(list, entry{typ: "file", name: path.Join(path.Dir(name), ".wh."+path.Base(name))})
	}
	for name, is := range l.opaque {
		if is {
			list = append(list, entry{typ: "file", name: name + "/.wh..wh..opq"})
		}
	}
	slices.SortFunc(list, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	g.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	overLink := false
	for name, e := range l.entries {
		overLink = overLink || e.typ == "dir" && g.links[name]
	}
	class := func(e entry) int {
		switch {
		case e.typ == "link":
			return 1e6
		case overLink:
			return len(e.name) // a parent's name is shorter
		}
		return 0
	}
	slices.SortStableFunc(list, func(a, b entry) int { return class(a) - class(b) })
	for name, e := range l.entries {
		if e.typ == "sym" || e.typ == "link" {
			g.links[name] = true
		}
	}
	return list
}

// extractForOverlay writes the layer as overlayfs wants it, by plain calls on paths: a whiteout is a device 0:0, an opaque directory has an
// attribute. A directory that is whited out and back again hides what is below by being opaque.
func extractForOverlay(t *testing.T, l layerModel, dir string) {
	t.Helper()
	names := slices.Sorted(maps.Keys(l.entries))
	for _, links := range []bool{false, true} {
		for _, name := range names {
			if e := l.entries[name]; (e.typ == "link") == links {
				createPlainly(t, e, dir)
			}
		}
	}
	for name := range l.whiteouts {
		full := filepath.Join(dir, name)
		e, back := l.entries[name]
		switch {
		case !back:
			must(t, unix.Mknod(full, unix.S_IFCHR, 0))
		case e.typ == "dir":
			must(t, unix.Setxattr(full, "trusted.overlay.opaque", []byte("y"), 0))
		}
	}
	for name, is := range l.opaque {
		if is {
			must(t, unix.Setxattr(filepath.Join(dir, name), "trusted.overlay.opaque", []byte("y"), 0))
		}
	}
	slices.Reverse(names)
	for _, name := range names {
		e := l.entries[name]
		if e.typ == "link" {
			continue
		}
		full := filepath.Join(dir, name)
		must(t, os.Lchown(full, e.uid, e.gid))
		for k, v := range e.xattrs {
			must(t, unix.Lsetxattr(full, k, []byte(v), 0))
		}
		if e.typ != "sym" {
			must(t, unix.Chmod(full, uint32(e.mode)))
		}
		ts := unix.NsecToTimespec(time.Unix(e.mtime, 0).UnixNano())
		must(t, unix.UtimesNanoAt(unix.AT_FDCWD, full, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW))
	}
}

func createPlainly(t *testing.T, e entry, dir string) {
	t.Helper()
	full := filepath.Join(dir, e.name)
	dev := int(unix.Mkdev(uint32(e.major), uint32(e.minor)))
	switch e.typ {
	case "dir":
		must(t, os.Mkdir(full, 0o755))
	case "file":
		must(t, os.WriteFile(full, []byte(e.content), fs.ModePerm))
	case "sym":
		must(t, os.Symlink(e.target, full))
	case "fifo":
		must(t, unix.Mkfifo(full, 0o644))
	case "char":
		must(t, unix.Mknod(full, unix.S_IFCHR, dev))
	case "block":
		must(t, unix.Mknod(full, unix.S_IFBLK, dev))
	case "link":
		must(t, os.Link(filepath.Join(dir, e.target), full))
	}
}
