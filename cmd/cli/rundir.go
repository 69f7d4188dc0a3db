package cli

import (
	"crypto/rand"
	"encoding/hex"
	"os"
	"path/filepath"

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

// ownFiles mounts files of the run's own over the image's.
func (p *prepared) ownFiles(names []string) []specs.Mount {
	options := []string{"rbind", "rprivate"}
	if p.asked.ReadOnly {
		options = append(options, "ro") // or they would be all that can be written to, without a bound
	}
	var ms []specs.Mount
	for _, name := range names {
		ms = append(ms, specs.Mount{Destination: "/etc/" + name, Type: "bind", Source: filepath.Join(p.stateDir(), name), Options: options})
	}
	return ms
}

// netContent is what the network's files say.
func (p *prepared) netContent() map[string]string {
	return map[string]string{
		"resolv.conf": string(p.asked.ResolvConf(readOr("/etc/resolv.conf"))),
		"hosts":       string(p.asked.HostsFile(readOr("/etc/hosts"))),
		"hostname":    p.spec.Hostname + "\n",
	}
}

func readOr(name string) []byte {
	b, _ := os.ReadFile(name) // a host without one has nothing to say there
	return b
}

// populate makes what the run needs in its directory: the layers of the overlay, the place to
// mount it, and its own files. Modes are set, not left to the caller's umask.
func (p *prepared) populate(st *state.State) error {
	for _, dir := range []string{"upper", "work", "root"} {
		if err := os.Mkdir(st.Path(dir), 0o755); err != nil {
			return err
		}
	}
	// The upper directory is the container's /: its mode, owner and all are the image's own.
	if err := likeDirectory(st.Path("upper"), p.treePath); err != nil {
		return err
	}
	for name, content := range p.content {
		if err := st.Write(name, content, 0o644); err != nil {
			return err
		}
	}
	return p.provide(st, p.asked.Volumes)
}

func likeDirectory(name, like string) error {
	fi, err := os.Stat(like)
	if err != nil {
		return err
	}
	uid, gid := owners(fi)
	if err := os.Chown(name, uid, gid); err != nil {
		return err
	}
	return os.Chmod(name, fi.Mode())
}
