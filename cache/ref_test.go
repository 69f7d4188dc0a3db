package cache

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestRefs(t *testing.T) {
	c := open(t)
	names := []string{"docker.io/library/alpine:3.20", "a/b", "../../escape", "line\nbreak", "\xff\x00", "", strings.Repeat("long", 1000)}
	for _, name := range names {
		if _, err := c.Ref(name); !errors.Is(err, ErrMissing) {
			t.Errorf("Ref(%q) before: %v", name, err)
		}
		data := []byte("data of\n" + name)
		for _, set := range [][]byte{[]byte("older"), nil, data} {
			if err := c.SetRef(name, set); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := c.Ref(name); err != nil || !bytes.Equal(got, data) {
			t.Errorf("Ref(%q) = %q, %v", name, got, err)
		}
	}
	refs, err := c.Refs()
	if err != nil || len(refs) != len(names) {
		t.Fatalf("Refs: %d, %v", len(refs), err)
	}
	for i, ref := range refs {
		if i > 0 && refs[i-1].Name >= ref.Name {
			t.Errorf("%q before %q", refs[i-1].Name, ref.Name)
		}
		if string(ref.Data) != "data of\n"+ref.Name || time.Since(ref.Time).Abs() > time.Hour {
			t.Errorf("%+v", ref)
		}
	}
	for _, name := range names {
		if err := c.DeleteRef(name); err != nil {
			t.Error(err)
		}
		wantMissing(t, c.DeleteRef(name), "reference")
	}
	wantFiles(t, c)
}

func TestRefDamaged(t *testing.T) {
	const name = "docker.io/library/alpine:3.20"
	whole := encodeRef(name, []byte("some data"))
	turned := bytes.Clone(whole)
	turned[len(turned)-3] ^= 1
	renamed := bytes.Replace(whole, []byte("3.20"), []byte("3.19"), 1)
	for what, text := range map[string][]byte{
		"empty":           nil,
		"cut in the data": whole[:len(whole)-1],
		"cut in the head": whole[:20],
		"grown":           append(bytes.Clone(whole), 0),
		"turned":          turned,
		"renamed":         renamed,
		"of another name": encodeRef("other", []byte("some data")),
		"without name":    encodeRef("x", nil)[:len(refMagic)+72],
		"zeros":           make([]byte, len(whole)),
	} {
		t.Run(what, func(t *testing.T) {
			c := open(t)
			if err := c.SetRef("fine", nil); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(c.Path(), refPath(name)), text, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := c.Ref(name)
			wantMissing(t, err, "is damaged")
			refs, err := c.Refs()
			if err != nil || len(refs) != 1 || refs[0].Name != "fine" {
				t.Errorf("Refs: %v, %v", refs, err)
			}
			if err := c.SetRef(name, []byte("new")); err != nil {
				t.Error(err)
			}
			if got, err := c.Ref(name); err != nil || string(got) != "new" {
				t.Errorf("set again: %q, %v", got, err)
			}
		})
	}
	t.Run("deleted", func(t *testing.T) {
		c := open(t)
		if err := os.WriteFile(filepath.Join(c.Path(), refPath(name)), turned, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := c.DeleteRef(name); err != nil {
			t.Error(err)
		}
	})
	t.Run("a directory", func(t *testing.T) {
		c := open(t)
		if err := os.Mkdir(filepath.Join(c.Path(), refPath(name)), 0o700); err != nil {
			t.Fatal(err)
		}
		_, err := c.Ref(name)
		wantMissing(t, err, "not a reference")
		if err := c.SetRef(name, nil); err != nil {
			t.Error(err)
		}
	})
}

// Who reads while others write sees one of the values, whole.
func TestRefReplacedAtomically(t *testing.T) {
	c := open(t)
	values := [][]byte{bytes.Repeat([]byte("a"), 5000), bytes.Repeat([]byte("b"), 9000)}
	if err := c.SetRef("name", values[0]); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 2 {
		wg.Go(func() {
			for range 50 {
				if err := c.SetRef("name", values[i]); err != nil {
					t.Error(err)
				}
			}
		})
	}
	written := make(chan struct{})
	go func() { wg.Wait(); close(written) }()
	for {
		got, err := c.Ref("name")
		if err != nil || !bytes.Equal(got, values[0]) && !bytes.Equal(got, values[1]) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		select {
		case <-written:
			return
		default:
		}
	}
}

func FuzzDecodeRef(f *testing.F) {
	f.Add(encodeRef("docker.io/library/alpine:3.20", []byte("data")))
	f.Add(encodeRef("", nil))
	f.Add([]byte(refMagic))
	f.Fuzz(func(t *testing.T, text []byte) {
		name, data, err := decodeRef(text)
		if err != nil {
			return
		}
		name2, data2, err := decodeRef(encodeRef(name, data))
		if err != nil || name2 != name || !bytes.Equal(data, data2) {
			t.Fatalf("%q is %q, %q; encoded and decoded %q, %q, %v", text, name, data, name2, data2, err)
		}
	})
}
