package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/umiak/umiak/cache/digest"
)

type obj = map[string]any

func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// store is a Fetcher over documents in memory.
type store map[digest.Digest][]byte

func (s store) add(v any) obj {
	b := marshal(v)
	d := digest.FromBytes(b)
	s[d] = b
	return obj{"digest": d, "size": len(b)}
}

func (s store) get(d Descriptor) ([]byte, error) {
	b, ok := s[d.Digest]
	if !ok {
		return nil, ErrNotFound
	}
	return b, nil
}
func (s store) Manifest(_ context.Context, d Descriptor) ([]byte, error) { return s.get(d) }
func (s store) Blob(_ context.Context, d Descriptor) ([]byte, error)     { return s.get(d) }

const gzipLayer = "application/vnd.oci.image.layer.v1.tar+gzip"

func layer(n int, mediaType string) obj {
	return obj{"mediaType": mediaType, "digest": digest.FromBytes(fmt.Append(nil, n)), "size": 100 + n}
}

func config(arch string, layers int) obj {
	ids := []digest.Digest{}
	for i := range layers {
		ids = append(ids, digest.FromBytes(fmt.Append(nil, "tar", i)))
	}
	return obj{
		"os": "linux", "architecture": arch, "created": "2024-09-06T12:05:36Z",
		"rootfs": obj{"type": "layers", "diff_ids": ids},
		"config": obj{"User": "1:2", "Env": []string{"A=b"}, "Entrypoint": []string{"/e"}, "Cmd": nil,
			"WorkingDir": "/w", "StopSignal": "SIGINT", "Labels": obj{"l": "v"}, "Volumes": obj{"/v": obj{}}, "ExposedPorts": obj{"80/tcp": obj{}}},
	}
}

// manifest returns a good manifest of two layers, its config in s.
func manifest(s store, arch string) obj {
	c := s.add(config(arch, 2))
	c["mediaType"] = typeOCIConfig
	return obj{"schemaVersion": 2, "mediaType": typeOCIManifest, "config": c, "layers": []any{layer(0, gzipLayer), layer(1, gzipLayer)}}
}

func ref(t *testing.T, s string) Reference {
	t.Helper()
	r, err := Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestNew(t *testing.T) {
	s := store{}
	m := marshal(manifest(s, "amd64"))
	img, err := New(ref(t, "alpine"), m, marshal(config("amd64", 2)))
	if err != nil {
		t.Fatal(err)
	}
	if img.Digest != digest.FromBytes(m) || img.ManifestDigest != img.Digest || img.Platform.String() != "linux/amd64" || img.Size != 201 || len(img.Layers) != 2 {
		t.Errorf("New gives %+v", img)
	}
	if l := img.Layers[1]; l.DiffID != digest.FromBytes(fmt.Append(nil, "tar", 1)) || l.Size != 101 || l.MediaType != gzipLayer {
		t.Errorf("second layer is %+v", l)
	}
	c, err := img.RunConfig()
	want := Config{User: "1:2", Env: []string{"A=b"}, Entrypoint: []string{"/e"}, WorkingDir: "/w", StopSignal: "SIGINT", Labels: map[string]string{"l": "v"},
		Volumes: map[string]struct{}{"/v": {}}, ExposedPorts: map[string]struct{}{"80/tcp": {}}}
	if err != nil || !reflect.DeepEqual(c, want) {
		t.Errorf("RunConfig gives %+v, %v", c, err)
	}
	if img.Created() != "2024-09-06T12:05:36Z" {
		t.Errorf("Created gives %q", img.Created())
	}
}

func TestNewSameLayerTwice(t *testing.T) {
	s := store{}
	m := manifest(s, "amd64")
	m["layers"] = []any{layer(0, gzipLayer), layer(0, gzipLayer)}
	if _, err := New(ref(t, "alpine"), marshal(m), marshal(config("amd64", 2))); err == nil {
		t.Error("one digest with two diffIDs is accepted")
	}
	c := config("amd64", 2)
	ids := c["rootfs"].(obj)["diff_ids"].([]digest.Digest)
	ids[1] = ids[0]
	d := s.add(c)
	m["config"] = obj{"mediaType": typeOCIConfig, "digest": d["digest"], "size": d["size"]}
	img, err := New(ref(t, "alpine"), marshal(m), marshal(c))
	if err != nil || len(img.Layers) != 2 || img.Size != 100 {
		t.Errorf("a layer listed twice: %+v, %v", img, err)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, c := range []struct {
		about string
		edit  func(m obj)
		why   string
	}{
		{"manifest and index at once, CVE-2021-41190", func(m obj) { m["manifests"] = []any{} }, "both layers and manifests"},
		{"the same in another spelling", func(m obj) { m["Manifests"] = []any{} }, "misspelt"},
		{"media type of an index", func(m obj) { m["mediaType"] = typeOCIIndex }, "something else"},
		{"schema 1", func(m obj) { m["schemaVersion"] = 1 }, "schema 1"},
		{"signed schema 1", func(m obj) { m["fsLayers"] = []any{} }, "schema 1"},
		{"no schema", func(m obj) { delete(m, "schemaVersion") }, "version is 0"},
		{"nothing at all", func(m obj) { clear(m); m["schemaVersion"] = 2 }, "neither layers nor manifests"},
		{"no config", func(m obj) { delete(m, "config") }, "no config"},
		{"too few layers", func(m obj) { m["layers"] = []any{layer(0, gzipLayer)} }, "1 layers, but its config speaks of 2"},
		{"negative size", func(m obj) { m["layers"].([]any)[0].(obj)["size"] = -1 }, "size -1"},
		{"sizes that overflow", func(m obj) { m["layers"].([]any)[0].(obj)["size"] = int64(1<<63 - 1) }, "larger than can be"},
		{"a path for a digest, CVE-2024-3727", func(m obj) { m["layers"].([]any)[0].(obj)["digest"] = "sha256:../../etc" }, "digest"},
		{"no digest", func(m obj) { delete(m["layers"].([]any)[0].(obj), "digest") }, "digest"},
		{"config of another image", func(m obj) { m["config"].(obj)["digest"] = digest.FromBytes(nil) }, "does not match"},
		{"config of another size", func(m obj) { m["config"].(obj)["size"] = 7 }, "does not match"},
		{"huge config", func(m obj) { m["config"].(obj)["size"] = MaxDocument + 1 }, "larger than"},
		{"helm chart", func(m obj) { m["config"].(obj)["mediaType"] = "application/vnd.cncf.helm.config.v1+json" }, "artifact"},
		{"artifact type", func(m obj) { m["artifactType"] = "application/vnd.example" }, "artifact"},
		{"attestation", func(m obj) { m["layers"].([]any)[0].(obj)["mediaType"] = "application/vnd.in-toto+json" }, "attestation"},
		{"foreign layer", func(m obj) {
			m["layers"].([]any)[0].(obj)["mediaType"] = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
		}, "third party"},
		{"nondistributable layer", func(m obj) {
			m["layers"].([]any)[0].(obj)["mediaType"] = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
		}, "third party"},
		{"encrypted layer", func(m obj) { m["layers"].([]any)[0].(obj)["mediaType"] = gzipLayer + "+encrypted" }, "encrypted"},
		{"unknown layer", func(m obj) { m["layers"].([]any)[0].(obj)["mediaType"] = "text/plain" }, "unknown type"},
	} {
		m := manifest(store{}, "amd64")
		c.edit(m)
		img, err := New(ref(t, "alpine"), marshal(m), marshal(config("amd64", 2)))
		if err == nil {
			t.Errorf("%s: accepted as %+v", c.about, img)
		} else if !strings.Contains(err.Error(), c.why) || !strings.Contains(err.Error(), "alpine") {
			t.Errorf("%s: %v; want %q in it", c.about, err, c.why)
		}
	}
}

func TestNewRefusesText(t *testing.T) {
	good := string(marshal(manifest(store{}, "amd64")))
	for _, c := range []struct{ manifest, why string }{
		{"", "JSON"}, {"<html>", "JSON"}, {"[]", "JSON"}, {"null", "JSON"}, {"{", "JSON"},
		{good[:len(good)-2], "JSON"},
		{good + "x", "manifest"},
		{strings.Replace(good, `"layers":`, `"layers":[],"layers":`, 1), "twice"},
		{strings.Replace(good, `"layers":`, `"layerſ":[],"layers":`, 1), "misspelt"},
		{strings.Repeat(" ", MaxDocument+1), "larger"},
	} {
		if _, err := New(ref(t, "alpine"), []byte(c.manifest), marshal(config("amd64", 2))); err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%.40q: %v; want %q", c.manifest, err, c.why)
		}
	}
}

func TestNewRefusesConfig(t *testing.T) {
	for _, c := range []struct {
		about, config, why string
	}{
		{"not JSON", "x", "JSON"},
		{"rootfs of another type", `{"rootfs":{"type":"base","diff_ids":["sha256:` + hexDigest + `"]}}`, "not layers"},
		{"bad diffID", `{"rootfs":{"type":"layers","diff_ids":["../x"]}}`, "digest"},
		{"rootfs twice", `{"rootfs":{},"rootfs":{}}`, "twice"},
	} {
		m := manifest(store{}, "amd64")
		b := []byte(c.config)
		m["config"] = obj{"mediaType": typeOCIConfig, "digest": digest.FromBytes(b), "size": len(b)}
		if _, err := New(ref(t, "alpine"), marshal(m), b); err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v; want %q in it", c.about, err, c.why)
		}
	}
}

func TestSelect(t *testing.T) {
	s := store{}
	entry := func(m obj, platform obj) obj {
		d := s.add(m)
		d["mediaType"] = typeOCIManifest
		if platform != nil {
			d["platform"] = platform
		}
		return d
	}
	arm := func(variant string) obj { return obj{"os": "linux", "architecture": "arm", "variant": variant} }
	attestation := entry(obj{"schemaVersion": 2, "layers": []any{}, "config": obj{}}, obj{"os": "unknown", "architecture": "unknown"})
	index := func(entries ...any) obj {
		return obj{"schemaVersion": 2, "mediaType": typeOCIIndex, "manifests": append([]any{}, entries...)}
	}
	amd := manifest(s, "amd64")
	multi := index(attestation, entry(manifest(s, "riscv64"), arm("v6")), entry(amd, obj{"os": "linux", "architecture": "amd64"}), entry(manifest(s, "arm64"), arm("v7")))
	nested := s.add(index(entry(amd, nil)))
	nested["mediaType"] = typeOCIIndex

	for _, c := range []struct {
		about    string
		top      obj
		platform string
		want     any // *PlatformError's platforms, or the manifest
	}{
		{"exact entry", multi, "linux/amd64", amd},
		{"newer machine", multi, "linux/amd64/v3", amd},
		{"the best of two", multi, "linux/arm/v7", manifest(s, "arm64")}, // the config is wrong, the index decides
		{"the older of two", multi, "linux/arm/v6", manifest(s, "riscv64")},
		{"not there", multi, "linux/s390x", "linux/arm/v6, linux/amd64, linux/arm/v7"},
		{"plain manifest", amd, "linux/amd64", amd},
		{"plain manifest of another platform", amd, "linux/arm64", "linux/amd64"},
		{"no platform said", index(entry(amd, nil)), "linux/amd64", amd},
		{"no platform said, and wrong", index(entry(amd, nil), entry(amd, nil)), "linux/arm64", "linux/amd64"},
		{"list in a list", index(nested), "linux/amd64", amd},
		{"empty index", index(), "linux/amd64", "no platform at all"},
		{"only attestations", index(attestation), "linux/amd64", "no platform at all"},
	} {
		top := marshal(c.top)
		img, err := Select(t.Context(), ref(t, "alpine"), top, "", mustPlatform(t, c.platform), s)
		switch want := c.want.(type) {
		case obj:
			if err != nil {
				t.Errorf("%s: %v", c.about, err)
			} else if img.ManifestDigest != digest.FromBytes(marshal(want)) || img.Digest != digest.FromBytes(top) {
				t.Errorf("%s: got manifest %s of %s", c.about, img.ManifestDigest, img.Digest)
			}
		case string:
			if _, ok := errors.AsType[*PlatformError](err); !ok || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %v, want a PlatformError with %q", c.about, err, want)
			}
		}
	}
}

func TestSelectRefuses(t *testing.T) {
	s := store{}
	amd := s.add(manifest(s, "amd64"))
	good := obj{"schemaVersion": 2, "manifests": []any{amd}}
	loop := obj{"schemaVersion": 2, "manifests": []any{amd}}
	for range maxDepth + 1 {
		loop = obj{"schemaVersion": 2, "manifests": []any{s.add(loop)}}
	}
	lying := store{}
	for k := range s {
		lying[k] = []byte("{}")
	}
	pinned := ref(t, "alpine@sha256:"+hexDigest)
	for _, c := range []struct {
		about string
		ref   Reference
		top   []byte
		mt    string
		s     store
		why   string
	}{
		{"another manifest than was asked for", pinned, marshal(good), "", s, "does not match"},
		{"another part than the index names", ref(t, "a"), marshal(good), "", lying, "does not match"},
		{"lists without end", ref(t, "a"), marshal(loop), "", s, "list of lists"},
		{"the sender contradicts the content", ref(t, "a"), marshal(good), typeOCIManifest + "; charset=utf-8", s, "something else"},
		{"captive portal", ref(t, "a"), []byte("<html>"), "text/html", s, "JSON"},
		{"part is gone", ref(t, "a"), marshal(good), "", store{}, "not found"},
	} {
		if _, err := Select(t.Context(), c.ref, c.top, c.mt, mustPlatform(t, "linux/amd64"), c.s); err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v; want %q in it", c.about, err, c.why)
		}
	}
}

func FuzzNew(f *testing.F) {
	s := store{}
	m := manifest(s, "amd64")
	f.Add(marshal(m), marshal(config("amd64", 2)))
	f.Add(marshal(obj{"schemaVersion": 2, "manifests": []any{m["config"]}}), []byte("{}"))
	f.Add([]byte(`{"schemaVersion":2,"config":{},"layers":null,"Layers":[]}`), []byte(`{"rootfs":null}`))
	r, _ := Parse("alpine")
	f.Fuzz(func(t *testing.T, manifest, config []byte) {
		_, _ = Select(t.Context(), r, manifest, "", HostPlatform(), store{digest.FromBytes(config): config, digest.FromBytes(manifest): manifest})
		img, err := New(r, manifest, config)
		if err != nil {
			return
		}
		if img.ConfigDigest != digest.FromBytes(config) && img.ConfigDigest.Algorithm() == "sha256" {
			t.Errorf("the config is not the one named")
		}
		if img.Size < 0 {
			t.Errorf("size %d", img.Size)
		}
		for _, l := range img.Layers {
			for _, d := range []digest.Digest{l.Digest, l.DiffID} {
				if _, err := digest.Parse(d.String()); err != nil {
					t.Errorf("layer %+v: %v", l, err)
				}
			}
		}
		_, _ = img.RunConfig()
	})
}
