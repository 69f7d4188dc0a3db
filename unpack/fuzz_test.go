package unpack

import (
	"bytes"
	"errors"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// smallLimits keep the fuzzer from spending its time on size.
func smallLimits() Options {
	return Options{MaxEntries: 200, MaxBytes: 1 << 20, MaxPath: 300, MaxDepth: 20, MaxXattrBytes: 4096}
}

// FuzzNames makes a layer of lines "TYPE NAME [TARGET]", "-" starting another layer. Whatever they say, the engine must keep its
// promises to the sink, leave no whiteout behind, and say the same twice.
func FuzzNames(f *testing.F) {
	for _, seed := range []string{
		"f a/b\nd a\nf .wh.a\n-\nf a/.wh..wh..opq\nf a/c",
		"s l /x/../y\nf l/f\n-\nd l\nf l/.wh.f\nh z l/f",
		"s a b\ns b a\nf a/x",
		"f ../../etc/passwd\ns / /etc\nd .\nh x ..",
		"f a\nh b a\n-\nf .wh.a\nh c b\nd b/c\nh b b/c",
		"p x\nf x/y\n-\nf x/y/z\nf .wh..wh.plnk/1\nf .wh.\nf .wh..\nf .wh...",
		"s x .\nf x/x/x/f\nf x/.wh.x\ns d ../../..\nf d/d/f",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, script string) {
		layers := layersOfScript(script)
		if layers == nil {
			t.Skip()
		}
		first, err := fuzzFlatten(t, layers)
		second, again := fuzzFlatten(t, layers)
		if (err == nil) != (again == nil) {
			t.Fatalf("first %v, then %v", err, again)
		}
		if err != nil {
			return
		}
		if d := diffTrees(second, first); len(d) > 0 {
			t.Fatal(d)
		}
		for name := range first {
			if strings.HasPrefix(path.Base(name), whiteoutPrefix) {
				t.Errorf("%q is left", name)
			}
		}
	})
}

func fuzzFlatten(t *testing.T, layers [][]byte) (map[string]record, error) {
	m := newMemSink()
	_, err := flatten(t.Context(), m, plain(layers...), smallLimits())
	if errors.Is(err, errSink) {
		t.Fatal(err)
	}
	return m.dump(), err
}

// layersOfScript builds headers by hand: archive/tar's writer is too well-behaved for some names. nil: not a script.
func layersOfScript(script string) [][]byte {
	var layers [][]byte
	var b bytes.Buffer
	for line := range strings.SplitSeq(script, "\n") {
		typ, rest, _ := strings.Cut(line, " ")
		name, target, _ := strings.Cut(rest, " ")
		flag, ok := map[string]byte{"f": '0', "h": '1', "s": '2', "c": '3', "d": '5', "p": '6'}[typ]
		switch {
		case typ == "-":
			layers = append(layers, bytes.Clone(b.Bytes()))
			b.Reset()
		case ok && len(name) <= 100 && len(target) <= 100:
			b.Write(rawHeader(flag, name, target))
		default:
			return nil
		}
	}
	return append(layers, b.Bytes())
}

func rawHeader(flag byte, name, target string) []byte {
	h := make([]byte, 512)
	copy(h, name)
	copy(h[100:], "0000644\x000000000\x000000000\x0000000000000\x0000000000001\x00")
	h[156] = flag
	copy(h[157:], target)
	copy(h[257:], "ustar\x0000")
	copy(h[329:], "0000001\x000000003\x00")
	copy(h[148:], checksum(h))
	return h
}

// FuzzLayer feeds whole layers, compressed or not, to a real directory, with a canary beside it.
func FuzzLayer(f *testing.F) {
	vectors, _ := filepath.Glob("testdata/layers/*.txt")
	for _, file := range vectors {
		for _, layer := range readVector(f, file).layers {
			f.Add(layer)
		}
	}
	f.Add(gz(f, rawHeader('5', "d", "")))
	f.Add(zst(f, rawHeader('2', "l", "/outside")))
	top := f.TempDir()
	if dir, err := os.MkdirTemp("/dev/shm", "umiak-fuzz"); err == nil {
		f.Cleanup(func() { os.RemoveAll(dir) })
		top = dir
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		place, err := os.MkdirTemp(top, "")
		must(t, err)
		defer os.RemoveAll(place)
		root, outside := filepath.Join(place, "root"), filepath.Join(place, "outside")
		must(t, os.Mkdir(root, 0o755))
		must(t, os.Mkdir(outside, 0o755))
		must(t, os.WriteFile(filepath.Join(outside, "canary"), []byte("x"), 0o600))
		before := dumpTree(t, outside)
		z, err := Decompress(bytes.NewReader(data))
		if err != nil {
			return
		}
		var closed int
		flattenTo(t, root, []Layer{reading(z, &closed)}, smallLimits())
		if d := diffTrees(dumpTree(t, outside), before); len(d) > 0 {
			t.Fatal(d)
		}
		if list, _ := os.ReadDir(place); len(list) != 2 {
			t.Fatalf("beside the root: %v", list)
		}
	})
}
