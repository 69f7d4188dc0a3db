package image

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/umiak/umiak/cache/digest"
)

// New puts an image together from its manifest and config, after checking both
// and that they belong together. Only the caller can know whether ref names this
// manifest.
func New(ref Reference, manifest, config []byte) (*Image, error) {
	img, err := build(ref, manifest, config, "")
	if err != nil {
		return nil, badManifest(ref, err)
	}
	return img, nil
}

func build(ref Reference, manifest, config []byte, declared string) (*Image, error) {
	doc, err := parseManifest(manifest, declared)
	if err != nil {
		return nil, err
	}
	if err := doc.Config.Verify(config); err != nil {
		return nil, fmt.Errorf("its config: %w", err)
	}
	c, err := parseConfig(config)
	if err != nil {
		return nil, err
	}
	if len(c.RootFS.DiffIDs) != len(doc.Layers) {
		return nil, fmt.Errorf("it has %d layers, but its config speaks of %d", len(doc.Layers), len(c.RootFS.DiffIDs))
	}
	self := digest.FromBytes(manifest)
	img := &Image{
		Reference: ref, Digest: self, ManifestDigest: self, ConfigDigest: doc.Config.Digest,
		Platform: c.platform(), Manifest: manifest, Config: config,
	}
	seen := make(map[digest.Digest]Layer)
	for i, l := range doc.Layers {
		layer := Layer{Digest: l.Digest, DiffID: c.RootFS.DiffIDs[i], Size: l.Size, MediaType: l.MediaType}
		first, again := seen[l.Digest]
		if again && first != layer {
			return nil, fmt.Errorf("layer %s is described in two ways", l.Digest.Short())
		}
		if !again {
			seen[l.Digest] = layer
			img.Size += l.Size
		}
		img.Layers = append(img.Layers, layer)
	}
	return img, nil
}

// configFile is the part of an image's config that says what it is.
type configFile struct {
	jsonPlatform
	Created string `json:"created"`
	RootFS  struct {
		Type    string          `json:"type"`
		DiffIDs []digest.Digest `json:"diff_ids"`
	} `json:"rootfs"`
}

// platform falls back to linux/amd64 for images from before configs said so.
func (c *configFile) platform() Platform {
	p := c.jsonPlatform
	if p.OS == "" {
		p.OS = "linux"
	}
	if p.Architecture == "" {
		p.Architecture = "amd64"
	}
	return p.platform()
}

func parseConfig(b []byte) (*configFile, error) {
	if err := checkKeys(b, "architecture", "os", "variant", "rootfs", "config"); err != nil {
		return nil, fmt.Errorf("its config cannot be read: %w", err)
	}
	var c configFile
	if err := json.Unmarshal(b, &c); err != nil {
		return nil, fmt.Errorf("its config cannot be read: %w", err)
	}
	if c.RootFS.Type != "layers" && len(c.RootFS.DiffIDs) > 0 {
		return nil, fmt.Errorf("its root file system is of type %q, not layers", c.RootFS.Type)
	}
	for _, d := range c.RootFS.DiffIDs {
		if _, err := digest.Parse(d.String()); err != nil {
			return nil, fmt.Errorf("its config: %w", err)
		}
	}
	return &c, nil
}

// Config is how an image wants to be run. It is a list of what an image may say,
// not everything that a config holds: an image cannot name things of the host
// (CVE-2026-53488).
type Config struct {
	User         string
	Env          []string
	Entrypoint   []string
	Cmd          []string
	WorkingDir   string
	StopSignal   string
	Labels       map[string]string
	Volumes      map[string]struct{}
	ExposedPorts map[string]struct{}
}

// RunConfig returns how the image wants to be run.
func (i *Image) RunConfig() (Config, error) {
	if len(i.Config) == 0 {
		return Config{}, errors.New("reading an image config: there is none")
	}
	var c struct {
		Config Config `json:"config"`
	}
	if err := json.Unmarshal(i.Config, &c); err != nil {
		return Config{}, fmt.Errorf("reading the config of %s: %w", i.Reference.Familiar(), err)
	}
	return c.Config, nil
}

// Created is when the image says it was built, as RFC 3339 text; empty if it
// does not say. Reproducible builds often say 1970.
func (i *Image) Created() string {
	var c configFile
	if json.Unmarshal(i.Config, &c) != nil {
		return ""
	}
	return c.Created
}
