package cli

import (
	"crypto/rand"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/umiak/umiak/run/state"
)

// newID names a run: 12 hexadecimal digits, docker's short form, and the hostname inside.
func newID() string {
	b := make([]byte, 6)
	_, _ = rand.Read(b) // never fails: crypto/rand
	return hex.EncodeToString(b)
}

// netFileNames are the files that the run has versions of its own of, as docker has.
var netFileNames = []string{"resolv.conf", "hosts", "hostname"}

// netFiles mounts them over the image's.
func netFiles(dir string) []specs.Mount {
	var ms []specs.Mount
	for _, name := range netFileNames {
		ms = append(ms, specs.Mount{
			Destination: "/etc/" + name, Type: "bind", Source: filepath.Join(dir, name), Options: []string{"rbind", "rprivate"},
		})
	}
	return ms
}

// populate makes what the run needs in its directory: the layers of the overlay, the place to
// mount it, and the network's files.
func (p *prepared) populate(st *state.State) error {
	for _, dir := range []string{"upper", "work", "root"} {
		if err := os.Mkdir(st.Path(dir), 0o755); err != nil {
			return err
		}
	}
	// The upper directory is the container's /: as open as the image's own.
	if fi, err := os.Stat(filepath.Join(p.result.Root.Path(), "rootfs")); err == nil {
		if err := os.Chmod(st.Path("upper"), fi.Mode()); err != nil {
			return err
		}
	}
	content := p.netContent()
	for _, name := range netFileNames {
		if err := st.Write(name, content[name], 0o644); err != nil {
			return err
		}
	}
	return nil
}

// netContent is what the files say.
func (p *prepared) netContent() map[string]string {
	return map[string]string{"resolv.conf": readOr("/etc/resolv.conf"), "hosts": p.hosts(), "hostname": p.spec.Hostname + "\n"}
}

func readOr(name string) string {
	b, err := os.ReadFile(name)
	if err != nil {
		return ""
	}
	return string(b)
}

// hosts is the host's file where the network is the host's, and then our own name.
func (p *prepared) hosts() string {
	h := "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
	if p.options.network == "host" {
		if own := readOr("/etc/hosts"); own != "" {
			h = strings.TrimSuffix(own, "\n") + "\n"
		}
	}
	return h + "127.0.0.1\t" + p.spec.Hostname + "\n"
}
