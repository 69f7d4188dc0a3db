// Package sample makes the small image that the demo, the tests and the benchmarks use, and serves it from a registry
// on loopback, so that none of them needs anybody's registry.
//
// The image is the same bytes for the same box binary. Its second layer changes, hides, replaces and adds to what the
// first one brought, so that a wrong flattening shows.
package sample

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"github.com/google/go-containerregistry/pkg/compression"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Commands are the names that box answers to in the image.
func Commands() []string {
	return []string{"[", "cat", "eat", "echo", "env", "false", "head", "hostname", "id", "kill", "limits", "ln", "ls", "mkdir",
		"mount", "printf", "ps", "pwd", "rm", "sh", "sha256sum", "sleep", "stat", "test", "touch", "true", "uname", "wc"}
}

// Binary builds cmd/box as the image holds it: static, without a trace of where it was built. The working directory
// must be inside of this module.
func Binary(ctx context.Context) ([]byte, error) {
	dir, err := os.MkdirTemp("", "umiak-box-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "box")
	// The checkout's state is left out of the binary: a commit must not change the image.
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", file,
		"github.com/umiak/umiak/cmd/box")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+runtime.GOARCH)
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building cmd/box: %w\n%s", err, out)
	}
	return os.ReadFile(file)
}

// Image makes the image around a box binary.
func Image(box []byte) (v1.Image, error) {
	config := &v1.ConfigFile{
		Architecture: runtime.GOARCH,
		OS:           "linux",
		Created:      v1.Time{Time: made()},
		RootFS:       v1.RootFS{Type: "layers"},
		Config: v1.Config{
			Env:        []string{"PATH=/usr/bin:/bin", "GREETING=hello from the image"},
			WorkingDir: "/root",
			Cmd:        []string{"sh"},
			Labels:     map[string]string{"org.opencontainers.image.title": "umiak demo"},
		},
	}
	img, err := mutate.ConfigFile(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1),
		types.OCIConfigJSON), config)
	if err != nil {
		return nil, fmt.Errorf("making the image's config: %w", err)
	}
	for _, part := range []struct {
		entries     []entry
		compression compression.Compression
		mediaType   types.MediaType
		by          string
	}{
		{base(box), compression.GZip, types.OCILayer, "box and the files of a small system"},
		{changes(), compression.ZStd, types.OCILayerZStd, "changes to it"},
	} {
		layer, err := pack(part.entries, part.compression, part.mediaType)
		if err != nil {
			return nil, fmt.Errorf("packing the layer %q: %w", part.by, err)
		}
		img, err = mutate.Append(img, mutate.Addendum{Layer: layer, MediaType: part.mediaType,
			History: v1.History{Created: v1.Time{Time: made()}, CreatedBy: "cmd/demo/sample: " + part.by}})
		if err != nil {
			return nil, fmt.Errorf("appending the layer %q: %w", part.by, err)
		}
	}
	return img, nil
}

// made is the time of everything in the image.
func made() time.Time { return time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC) }
