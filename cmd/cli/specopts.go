package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/umiak/umiak/run/seccomp"
	"github.com/umiak/umiak/run/spec"
)

// specOptions completes the flags with what depends on the machine.
func (o *runOptions) specOptions() (spec.Options, error) {
	s := o.spec
	s.Terminal, s.NofileHard = o.wantsTTY(), hardNofile()
	s.Environment.Host = o.app.Environ
	s.Entrypoint = nil
	if o.entrypoint != nil {
		s.Entrypoint = &o.entrypoint
	}
	if o.stopSignal != "" {
		s.StopSignal = o.stopSignal
	}
	o.addLabels(&s)
	caps, err := ownCapabilities()
	if err != nil {
		return s, err
	}
	s.Bounding = caps
	if s.Env, err = o.variables(); err != nil {
		return s, err
	}
	if s.MachineName, err = os.Hostname(); err != nil {
		return s, err
	}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		s.Resources.OnlyV2 = true
	}
	for _, d := range o.deviceArgs {
		devices, err := spec.ParseDevice(d, hostDevices)
		if err != nil {
			return s, fmt.Errorf("--device: %w", err)
		}
		s.Devices = append(s.Devices, devices...)
	}
	if s.Privileged {
		nodes, err := hostDevices("/dev")
		if err != nil {
			return s, err
		}
		for _, n := range nodes {
			s.HostDevices = append(s.HostDevices, spec.Device{LinuxDevice: n, Access: "rwm"})
		}
	}
	s.MaskedPaths = append(s.MaskedPaths, thermalThrottles()...)
	s.Seccomp = func(bounding []string) (*specs.LinuxSeccomp, error) {
		return seccompProfile(s.Security.Seccomp, bounding)
	}
	return s, nil
}

// ownCapabilities are those that this process has to give: root in a container, or on a machine
// that has been hardened, need not have all.
func ownCapabilities() (uint64, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return 0, fmt.Errorf("reading umiak's own capabilities: %w", err)
	}
	return uint64(sets[1].Permitted)<<32 | uint64(sets[0].Permitted), nil
}

// thermalThrottles are paths that docker hides and that have a processor's number in them.
func thermalThrottles() []string {
	paths, _ := filepath.Glob("/sys/devices/system/cpu/cpu*/thermal_throttle")
	return paths
}

// seccompProfile is docker's default one, or that in a file.
func seccompProfile(file string, bounding []string) (*specs.LinuxSeccomp, error) {
	if file == "" {
		return seccomp.Default(bounding, runtime.GOARCH), nil
	}
	b, err := readSmall(file)
	if err != nil {
		return nil, err
	}
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return nil, err
	}
	p, err := seccomp.Parse(b, bounding, runtime.GOARCH, unix.ByteSliceToString(uts.Release[:]))
	if err != nil {
		return nil, fmt.Errorf("--security-opt seccomp=%s: %w", file, err)
	}
	return p, nil
}

// readSmall reads a file that a user names, and that can't sensibly be large.
func readSmall(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	const most = 4 << 20
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && len(b) > most {
		err = fmt.Errorf("%s is larger than 4 MiB", file)
	}
	return b, err
}

// hostDevices gives a device of the host's, or all those in a directory.
func hostDevices(name string) ([]specs.LinuxDevice, error) {
	fi, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !fi.IsDir() {
		d, err := hostDevice(name, fi)
		if err != nil {
			return nil, err
		}
		return []specs.LinuxDevice{d}, nil
	}
	var list []specs.LinuxDevice
	err = filepath.WalkDir(name, func(p string, e fs.DirEntry, err error) error {
		switch {
		case err != nil && p != name:
			return nil // it went while we looked
		case err != nil:
			return err
		case e.IsDir() && (e.Name() == "pts" || e.Name() == "shm" || e.Name() == "fd" || e.Name() == "mqueue"):
			return fs.SkipDir // the container has its own
		case e.Type()&fs.ModeDevice == 0:
			return nil
		}
		if fi, err := e.Info(); err == nil {
			if d, err := hostDevice(p, fi); err == nil {
				list = append(list, d)
			}
		}
		return nil
	})
	return list, err
}

func hostDevice(name string, fi fs.FileInfo) (specs.LinuxDevice, error) {
	var st unix.Stat_t
	if err := unix.Stat(name, &st); err != nil {
		return specs.LinuxDevice{}, err
	}
	d := specs.LinuxDevice{Path: name, Major: int64(unix.Major(st.Rdev)), Minor: int64(unix.Minor(st.Rdev)), UID: &st.Uid, GID: &st.Gid}
	mode := fi.Mode().Perm()
	d.FileMode = &mode
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFCHR:
		d.Type = "c"
	case unix.S_IFBLK:
		d.Type = "b"
	default:
		return d, errors.New(name + " is not a device")
	}
	return d, nil
}
