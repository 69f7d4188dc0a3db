package unpack

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestLayers flattens testdata/layers: every rule of the package comment as data, see the README there. It runs over a sink in
// memory, which needs nothing, and over a directory, which needs root.
func TestLayers(t *testing.T) {
	files, err := filepath.Glob("testdata/layers/*.txt")
	must(t, err)
	if len(files) < 25 {
		t.Fatalf("only %d vectors", len(files))
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		v := readVector(t, file)
		t.Run("memory/"+name, func(t *testing.T) {
			m := newMemSink()
			_, err := flatten(t.Context(), m, plain(v.layers...), v.opts)
			v.check(t, err, m.dump())
		})
		t.Run("directory/"+name, func(t *testing.T) {
			dir := tmpfs(t, "size=64m")
			needUserXattrs(t, dir)
			_, err := flattenTo(t, dir, plain(v.layers...), v.opts)
			v.check(t, err, dumpTree(t, dir))
		})
	}
}

func flattenTo(t testing.TB, dir string, layers []Layer, o Options) (Stats, error) {
	t.Helper()
	root, err := os.Open(dir)
	must(t, err)
	defer root.Close()
	return Flatten(t.Context(), root, layers, o)
}

type vector struct {
	layers [][]byte
	tree   map[string]record
	reject string
	opts   Options
}

func (v vector) check(t *testing.T, err error, got map[string]record) {
	t.Helper()
	if v.reject != "" {
		if err == nil || !strings.Contains(err.Error(), v.reject) {
			t.Errorf("error %v, want one with %q", err, v.reject)
		}
		return
	}
	must(t, err)
	if _, ok := v.tree["."]; !ok {
		delete(got, ".")
	}
	for _, d := range diffTrees(got, v.tree) {
		t.Error(d)
	}
}

func readVector(t testing.TB, file string) vector {
	t.Helper()
	data, err := os.ReadFile(file)
	must(t, err)
	v := vector{tree: map[string]record{}}
	section := ""
	var entries []entry
	flush := func() {
		if section == "layer" {
			v.layers = append(v.layers, tarOf(t, entries))
		}
		entries = nil
	}
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0 || fields[0] == "#":
		case fields[0] == "layer" || fields[0] == "tree":
			flush()
			section = fields[0]
		case fields[0] == "reject":
			v.reject = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "reject"))
		case fields[0] == "limit":
			n, err := strconv.ParseInt(fields[2], 10, 64)
			must(t, err)
			*map[string]*int64{"MaxEntries": &v.opts.MaxEntries, "MaxBytes": &v.opts.MaxBytes, "MaxPath": &v.opts.MaxPath,
				"MaxDepth": &v.opts.MaxDepth, "MaxXattrBytes": &v.opts.MaxXattrBytes}[fields[1]] = n
		case section == "tree":
			e := parseEntry(t, fields)
			v.tree[e.name] = e.record(v.tree)
		default:
			entries = append(entries, parseEntry(t, fields))
		}
	}
	flush()
	for name, r := range v.tree { // the first name of a group is known only now
		if r.Group != "" {
			other := v.tree[r.Group]
			other.Group = r.Group
			v.tree[r.Group], v.tree[name] = other, r
		}
	}
	return v
}

// entry is one line of a vector: TYPE NAME, then in any order MODE, UID:GID, @SECONDS, ATTRIBUTE=VALUE, "CONTENT", -> TARGET, dev=MAJOR:MINOR.
type entry struct {
	typ, name, content, target string
	mode                       int64
	uid, gid                   int
	mtime                      int64
	major, minor               int64
	xattrs                     map[string]string
}

func parseEntry(t testing.TB, fields []string) entry {
	t.Helper()
	e := entry{typ: fields[0], name: unquote(fields[1]), mtime: 1e9, mode: 0o644, xattrs: map[string]string{}}
	switch e.typ {
	case "dir":
		e.mode = 0o755
	case "implied":
		e.typ, e.mode, e.mtime = "dir", 0o755, 0
	case "sym":
		e.mode = 0o777
	}
	for i := 2; i < len(fields); i++ {
		f := fields[i]
		var err error
		switch key, value, pair := strings.Cut(f, "="); {
		case f == "->":
			i++
			e.target = unquote(fields[i])
		case f[0] == '"':
			e.content = unquote(f)
		case f[0] == '@':
			e.mtime, err = strconv.ParseInt(f[1:], 10, 64)
		case key == "dev":
			_, err = fmt.Sscanf(value, "%d:%d", &e.major, &e.minor)
		case pair:
			e.xattrs[key] = unquote(value)
		case strings.Contains(f, ":"):
			_, err = fmt.Sscanf(f, "%d:%d", &e.uid, &e.gid)
		default:
			e.mode, err = strconv.ParseInt(f, 8, 64)
		}
		if err != nil {
			t.Fatalf("%s in %q: %v", f, fields, err)
		}
	}
	return e
}

func unquote(s string) string {
	if u, err := strconv.Unquote(s); err == nil {
		return u
	}
	return s
}

func (e entry) header() *tar.Header {
	h := &tar.Header{Name: e.name, Linkname: e.target, Mode: e.mode, Uid: e.uid, Gid: e.gid, Size: int64(len(e.content)),
		ModTime: time.Unix(e.mtime, 0), Devmajor: e.major, Devminor: e.minor, Format: tar.FormatPAX, PAXRecords: map[string]string{}}
	h.Typeflag = map[string]byte{"dir": tar.TypeDir, "file": tar.TypeReg, "link": tar.TypeLink, "sym": tar.TypeSymlink,
		"char": tar.TypeChar, "block": tar.TypeBlock, "fifo": tar.TypeFifo, "odd": 'Q', "cont": tar.TypeCont}[e.typ]
	if e.typ == "global" {
		return &tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "x"}}
	}
	for name, value := range e.xattrs {
		h.PAXRecords[paxXattr+name] = value
	}
	return h
}

// record is what the entry looks like in a tree; a link is that of its target.
func (e entry) record(tree map[string]record) record {
	if e.typ == "link" {
		r := tree[e.target]
		r.Path, r.Group = e.name, e.target
		return r
	}
	mtime := e.mtime * 1e9
	r := record{Path: e.name, Mode: fmt.Sprintf("%04o", e.mode), UID: uint32(e.uid), GID: uint32(e.gid), MTime: &mtime,
		Type: map[string]string{"dir": "d", "file": "f", "sym": "l", "char": "c", "block": "b", "fifo": "p"}[e.typ], Target: e.target}
	for name, value := range e.xattrs {
		if r.Xattrs == nil {
			r.Xattrs = map[string]string{}
		}
		r.Xattrs[name] = hex.EncodeToString([]byte(value))
	}
	switch r.Type {
	case "f":
		sum := sha256.Sum256([]byte(e.content))
		r.Size, r.SHA256 = int64(len(e.content)), hex.EncodeToString(sum[:])
	case "c", "b":
		r.Rdev = fmt.Sprintf("%d:%d", e.major, e.minor)
	}
	return r
}

func tarOf(t testing.TB, entries []entry) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range entries {
		must(t, w.WriteHeader(e.header()))
		_, err := w.Write([]byte(e.content))
		must(t, err)
	}
	must(t, w.Close())
	return out.Bytes()
}

// TestOrderDoesNotMatter shuffles what may be shuffled: within a layer whiteouts, parents and children stand in any order.
func TestOrderDoesNotMatter(t *testing.T) {
	lower := []entry{{typ: "dir", name: "d", mode: 0o700, uid: 9}, {typ: "dir", name: "d/s", mode: 0o700, uid: 9}, {typ: "file", name: "d/s/old"},
		{typ: "file", name: "d/old"}, {typ: "file", name: "f", content: "old"}, {typ: "dir", name: "o", uid: 7}, {typ: "file", name: "o/old"}}
	upper := []entry{{typ: "file", name: ".wh.d"}, {typ: "file", name: "d/s/new", content: "1"}, {typ: "file", name: "d/.wh.s"},
		{typ: "file", name: "o/.wh..wh..opq"}, {typ: "dir", name: "o/x", mode: 0o711}, {typ: "file", name: "o/x/new"}}
	var want map[string]record
	permute(upper, func(order []entry) {
		m := newMemSink()
		_, err := flatten(t.Context(), m, plain(tarOf(t, lower), tarOf(t, order)), Options{})
		must(t, err)
		got := m.dump()
		if want == nil {
			want = got
		}
		if d := diffTrees(got, want); len(d) > 0 {
			t.Fatalf("%v\n%v", order, d)
		}
	})
	if len(want) != 8 || want["d/s"].UID != 0 || want["o"].UID != 7 {
		t.Errorf("%v", want)
	}
}

func permute(list []entry, f func([]entry)) {
	var step func(k int)
	step = func(k int) {
		if k == len(list) {
			f(slices.Clone(list))
			return
		}
		for i := k; i < len(list); i++ {
			list[k], list[i] = list[i], list[k]
			step(k + 1)
			list[k], list[i] = list[i], list[k]
		}
	}
	step(0)
}
