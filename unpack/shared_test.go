package unpack

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The vectors that umiak shares with other tools; the project's own are in testdata/layers.
const sharedVectors = "../../shared/unpack-vectors"

// TestSharedVectors flattens 212 images made to be odd, hard or evil.
func TestSharedVectors(t *testing.T) {
	dirs, _ := filepath.Glob(sharedVectors + "/*/case.json")
	if len(dirs) == 0 {
		t.Skip("needs ../shared: unpack-vectors")
	}
	big := tmpfs(t, "size=1g")
	needUserXattrs(t, big)
	canary := makeCanary(t)
	for i := range 2 * len(dirs) {
		dir := filepath.Dir(dirs[i/2])
		name, o := filepath.Base(dir), Options{LibraryGzip: i%2 == 1}
		t.Run(name, func(t *testing.T) {
			place := filepath.Join(big, fmt.Sprint(name, i%2))
			if strings.HasPrefix(name, "e-") || strings.HasPrefix(name, "w-") {
				place = t.TempDir() // the canary's own file system: a hard link out of a tmpfs would fail by itself
			}
			must(t, os.MkdirAll(place, 0o755))
			dest := filepath.Join(place, "rootfs") // one of the vectors aims at rootfs-evil
			must(t, os.Mkdir(dest, 0o755))
			must(t, os.Mkdir(dest+"-evil", 0o755))
			runShared(t, dir, dest, canary, o)
		})
	}
}

type sharedCase struct {
	Name   string
	Expect string
	Root   bool
}

func runShared(t *testing.T, dir, dest, canary string, o Options) {
	var c sharedCase
	readJSON(t, filepath.Join(dir, "case.json"), &c)
	outside := func() map[string]record {
		out := dumpTree(t, canary)
		list, err := os.ReadDir(filepath.Dir(dest))
		must(t, err)
		for _, e := range list {
			r, _ := dumpOne(t, filepath.Join(filepath.Dir(dest), e.Name()), "beside/"+e.Name())
			if e.Name() == filepath.Base(dest) {
				r = record{Path: r.Path, Type: r.Type} // only that it is still a directory
			}
			out[r.Path] = r
		}
		return out
	}
	before := outside()
	stats, err := flattenLayout(t, filepath.Join(dir, "layout"), dest, o)
	for _, d := range diffTrees(outside(), before) {
		t.Errorf("outside: %s", d)
	}
	soft, decided := softDecisions()[c.Name]
	switch {
	case c.Expect == "contain":
		t.Logf("contained: %v", err)
		return
	case c.Expect == "soft" && !decided:
		t.Fatal("no decision of ours in softDecisions")
	case c.Expect == "reject", c.Expect == "soft" && soft.reject != "":
		if err == nil {
			t.Fatal("accepted")
		}
		if !strings.Contains(err.Error(), soft.reject) {
			t.Errorf("error %q should say %q", err, soft.reject)
		}
		t.Log(err)
		return
	case err != nil:
		t.Fatal(err)
	}
	want := map[string]record{}
	if _, err := os.Stat(filepath.Join(dir, "expected.json")); err == nil {
		var list []record
		readJSON(t, filepath.Join(dir, "expected.json"), &list)
		for _, r := range list {
			want[r.Path] = r
		}
	}
	got := dumpTree(t, dest)
	if !c.Root {
		delete(got, ".")
		delete(want, ".")
	}
	if soft.edit != nil {
		soft.edit(want)
	}
	for _, d := range diffTrees(got, want) {
		t.Error(d)
	}
	if stats.SkippedXattrs != soft.skipped {
		t.Errorf("%d attributes skipped, want %d", stats.SkippedXattrs, soft.skipped)
	}
}

// makeCanary makes the tree that the evil ones among the vectors aim at, by a path fixed in them.
func makeCanary(t *testing.T) string {
	const dir = "/tmp/acc-canary"
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Skipf("needs %s to be free: %v", dir, err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	must(t, os.WriteFile(filepath.Join(dir, "victim"), []byte("untouched"), 0o644))
	must(t, os.Mkdir(filepath.Join(dir, "sub"), 0o700))
	must(t, os.WriteFile(filepath.Join(dir, "sub", "victim"), []byte("untouched"), 0o600))
	return dir
}

func readJSON(t *testing.T, name string, into any) {
	t.Helper()
	data, err := os.ReadFile(name)
	must(t, err)
	must(t, json.Unmarshal(data, into))
}

type descriptor struct {
	MediaType, Digest string
	Size              int64
	Platform          *struct{ OS string }
}

// flattenLayout does the work of the packages before this one, as little of it as the vectors need: find the manifest, verify.
func flattenLayout(t *testing.T, layout, dest string, o Options) (Stats, error) {
	blobs := func(d descriptor) ([]byte, error) {
		data, err := os.ReadFile(filepath.Join(layout, "blobs", strings.Replace(d.Digest, ":", "/", 1)))
		if err != nil {
			return nil, err
		}
		if int64(len(data)) != d.Size || sum(d.Digest, data) != d.Digest {
			return nil, fmt.Errorf("blob is not %s", d.Digest)
		}
		return data, nil
	}
	manifest, err := findManifest(layout, blobs)
	if err != nil {
		return Stats{}, err
	}
	var config struct{ RootFS struct{ Diff_IDs []string } }
	data, err := blobs(manifest.Config)
	if err != nil {
		return Stats{}, err
	}
	if err := json.Unmarshal(data, &config); err != nil {
		return Stats{}, err
	}
	if len(config.RootFS.Diff_IDs) != len(manifest.Layers) {
		return Stats{}, errors.New("as many diff ids as layers are needed")
	}
	var layers []Layer
	for i, d := range manifest.Layers {
		if !strings.Contains(d.MediaType, "tar") {
			return Stats{}, fmt.Errorf("unknown media type %s", d.MediaType)
		}
		layers = append(layers, Layer{Name: d.Digest, Open: func(context.Context) (io.ReadCloser, error) {
			data, err := blobs(d)
			return io.NopCloser(bytes.NewReader(data)), err
		}, Verify: &verifier{hasher(config.RootFS.Diff_IDs[i]), config.RootFS.Diff_IDs[i]}})
	}
	root, err := os.Open(dest)
	must(t, err)
	defer root.Close()
	return Flatten(t.Context(), root, layers, o)
}

type manifest struct {
	Config descriptor
	Layers []descriptor
}

func findManifest(layout string, blob func(descriptor) ([]byte, error)) (m manifest, err error) {
	data, err := os.ReadFile(filepath.Join(layout, "index.json"))
	for err == nil {
		var doc struct {
			manifest
			Manifests []descriptor
		}
		if err = json.Unmarshal(data, &doc); err != nil || len(doc.Manifests) == 0 {
			return doc.manifest, err
		}
		d := doc.Manifests[0]
		for _, other := range doc.Manifests {
			if other.Platform != nil && other.Platform.OS == "linux" {
				d = other
				break
			}
		}
		data, err = blob(d)
	}
	return m, err
}

func hasher(digest string) hash.Hash {
	if strings.HasPrefix(digest, "sha512:") {
		return sha512.New()
	}
	return sha256.New()
}

func sum(digest string, data []byte) string {
	h := hasher(digest)
	h.Write(data)
	return fmt.Sprintf("%s:%x", digest[:6], h.Sum(nil))
}

// verifier fails at the end of a stream whose digest is another.
type verifier struct {
	hash.Hash
	want string
}

func (v *verifier) Close() error {
	if got := fmt.Sprintf("%s:%x", v.want[:6], v.Sum(nil)); got != v.want {
		return fmt.Errorf("diff id is %s, not %s", got, v.want)
	}
	return nil
}
