// Package spec turns an image's config and a user's options into an OCI
// runtime-spec document, by docker's rules, and checks it.
//
// It promises three things. It is pure: no file is opened, no environment
// read, nothing of the machine asked; what depends on the machine (the image's
// passwd file, the host's limits, device numbers) is passed in as data. A spec
// that [New] returns has passed [Validate]. And an image can name nothing of
// the host: only the fields of [Image] are looked at, and none of them becomes
// a path outside the root, a mount or an annotation that a runtime obeys.
//
// It does not promise that the machine can do what the spec says.
package spec

import (
	"cmp"
	"errors"
	"fmt"
	"maps"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// ErrInvalid is in the chain of every error of this package: what the user or
// the image asked for makes no sense, whatever the machine.
var ErrInvalid = errors.New("invalid")

// Image is what is taken from an image's config: an allowlist, so that no
// field which a later format adds can steer the host (CVE-2026-53488, where a
// LABEL chose a command to run there).
type Image struct {
	Env, Entrypoint, Cmd []string
	WorkingDir           string
	User                 string
	StopSignal           string
	// Labels never reach the spec: there they would be annotations, and
	// runtimes obey some of those.
	Labels map[string]string
}

// Files are the image's own identity files, read by the caller beneath the
// root and with a limit on their size; nil means that there is no such file.
type Files struct {
	Passwd []byte // /etc/passwd
	Group  []byte // /etc/group
}

// Options are what the user asked for. Except for ID and RootPath the zero
// value of a field is docker's default.
type Options struct {
	ID         string // names the run; [A-Za-z0-9][A-Za-z0-9_.-]*
	Hostname   string // "" = ID
	Domainname string
	// MachineName is the host's name, for HOSTNAME where the UTS namespace is
	// the host's.
	MachineName string

	RootPath string // absolute path of the mounted root file system
	ReadOnly bool   // of the root
	// ReadOnlyTmpfs gives a read-only root writable /run, /tmp and /var/tmp.
	ReadOnlyTmpfs bool

	Args        []string  // what stands after IMAGE
	Entrypoint  *[]string // nil = the image's; empty, or one "" = none
	Env         []string  // K=V sets, a bare K takes the image's K away
	Environment Environment
	WorkingDir  string
	User        string   // see [ParseUser]
	GroupAdd    []string // names or numbers
	Umask       *uint32  // of [ParseUmask]
	Terminal    bool
	StopSignal  string // see [ParseSignal]
	OOMScoreAdj *int   // -1000..1000

	Network    string // "host" (also ""), "none" or "ns:" and a path
	Namespaces Namespaces
	AddHosts   []string // of [ParseAddHost], for [Options.HostsFile]
	DNS        DNS      // for [Options.ResolvConf]

	Resources    Resources
	CgroupParent string
	// Ulimits replace the defaults of the same type (RLIMIT_NOFILE, …).
	Ulimits []specs.POSIXRlimit
	// NofileHard is the host's hard limit of open files; 0 = set no limit.
	NofileHard uint64
	Sysctls    map[string]string // of [ParseSysctl]

	// Mounts are the caller's own, after the default ones and instead of those
	// with the same destination; Volumes are the user's, instead of both.
	Mounts   []specs.Mount
	Volumes  []Mount // of [ParseVolume], [ParseMount] and [ParseTmpfs], each HostPath filled in
	ShmSize  int64   // bytes of /dev/shm; 0 = 64 MiB
	ZoneFile string  // absolute path of what is shown as /etc/localtime; see [ParseZone]
	// MaskedPaths are hidden beside the default ones: those that only this
	// machine has, such as /sys/devices/system/cpu/cpu0/thermal_throttle.
	MaskedPaths []string

	Privileged bool
	// HostDevices are all of the host's, which a privileged run gets.
	HostDevices []Device
	Devices     []Device // of [ParseDevice]

	CapAdd, CapDrop []string // "ALL", names with or without CAP_
	// Bounding is the caller's own set, as CapBnd in /proc/self/status has it;
	// 0 = not known.
	Bounding        uint64
	NoNewPrivileges bool
	Security        Security // of [ParseSecurityOpt]
	// Seccomp makes the profile that Security names, or the default one, for a
	// run with these capabilities in its bounding set; nil = no profile. It is
	// not called for a run that is to have none.
	Seccomp     func(bounding []string) (*specs.LinuxSeccomp, error)
	Annotations map[string]string
}

// stopSignalAnnotation is where the image-spec's conversion rules put it.
const stopSignalAnnotation = "org.opencontainers.image.stopSignal"

// New merges an image's config with the user's options.
func New(img Image, files Files, o Options) (*specs.Spec, error) {
	if !isName(o.ID) {
		return nil, invalidf("run id %q: want letters, digits, '_', '.' and '-', at most %d, the first a letter or a digit", o.ID, maxName)
	}
	if err := checkNames(o); err != nil {
		return nil, err
	}
	process, err := newProcess(img, files, o)
	if err != nil {
		return nil, err
	}
	linux, err := newLinux(o, process.Capabilities.Bounding)
	if err != nil {
		return nil, err
	}
	mounts, err := newMounts(o)
	if err != nil {
		return nil, err
	}
	annotations, err := newAnnotations(img, o)
	if err != nil {
		return nil, err
	}
	s := &specs.Spec{
		Version:     specs.Version,
		Process:     process,
		Root:        &specs.Root{Path: o.RootPath, Readonly: o.ReadOnly},
		Domainname:  o.Domainname,
		Mounts:      mounts,
		Annotations: annotations,
		Linux:       linux,
	}
	if o.Namespaces.UTS != modeHost {
		s.Hostname = hostnameInside(o)
	}
	if err := Validate(s); err != nil {
		return nil, err
	}
	return s, nil
}

// checkNames: with the host's UTS namespace a name of the run's own would
// rename the host.
func checkNames(o Options) error {
	if o.Namespaces.UTS == modeHost && (o.Hostname != "" || o.Domainname != "") {
		return invalidf("host or domain name %q with UTS mode host: it would be the host's", o.Hostname+o.Domainname)
	}
	return o.DNS.check()
}

// hostnameInside is the name that a program finds.
func hostnameInside(o Options) string {
	if o.Namespaces.UTS == modeHost {
		return o.MachineName
	}
	return cmp.Or(o.Hostname, o.ID)
}

func newAnnotations(img Image, o Options) (map[string]string, error) {
	out := maps.Clone(o.Annotations)
	stop := img.StopSignal
	if stop != "" && !isSignal(stop) {
		return nil, invalidf("the image's stop signal %q: want a name or a number, as in SIGTERM or 15", stop)
	}
	if o.StopSignal != "" {
		if _, err := ParseSignal(o.StopSignal); err != nil {
			return nil, err
		}
		stop = o.StopSignal
	}
	if stop == "" {
		return out, nil
	}
	if out == nil {
		out = map[string]string{}
	}
	if _, set := out[stopSignalAnnotation]; !set || o.StopSignal != "" {
		out[stopSignalAnnotation] = stop
	}
	return out, nil
}

// isSignal looks at the shape only (SIGRTMIN+3 is one); which signals there
// are is for the package that sends them.
func isSignal(s string) bool {
	return len(s) <= 16 && all(s, func(c byte) bool { return isAlnum(c) || c == '+' || c == '-' })
}

// invalid is an error whose text is the message alone, since "invalid: " in
// front of each would tell a user nothing.
type invalid string

func (e invalid) Error() string        { return string(e) }
func (e invalid) Is(target error) bool { return target == ErrInvalid }

func invalidf(format string, args ...any) error {
	return invalid(fmt.Sprintf(format, args...))
}
