package spec

// What hints have in common.
const (
	noDaemon   = "umiak has no daemon: run it in the foreground, or leave that to your service manager"
	noNetwork  = "networks are host and none, so a port of the container's is the host's own"
	noHealth   = "nothing watches a container but the umiak that runs it: check from inside, or from your script"
	noLogs     = "the output is umiak's own: redirect it"
	noOthers   = "umiak knows of no other containers"
	noUserNS   = "the ids inside are the host's; --userns host is how it is"
	onWindows  = "it is for Windows only"
	noPods     = "umiak has no pods"
	notNow     = "not built yet"
	noSystemd  = "umiak makes its cgroups itself"
	noPullAuth = "credentials come from docker's config.json; see docker login or DOCKER_CONFIG"
	noTrust    = "name the image by its digest, as in alpine@sha256:…"
)

// Unsupported gives, for each flag of docker run and podman run that umiak
// lacks, a hint why and what to do instead, by the flag's name without its
// dashes; one-letter names are there too.
func Unsupported() map[string]string {
	out := map[string]string{}
	for _, list := range [][][2]string{
		unsupportedDocker[:], unsupportedWindows[:], unsupportedPodman[:],
	} {
		for _, x := range list {
			out[x[0]] = x[1]
		}
	}
	return out
}

var unsupportedDocker = [...][2]string{
	{"detach", noDaemon},
	{"d", noDaemon},
	{"detach-keys", noDaemon},
	{"attach", "the standard streams are the caller's: redirect those that are not wanted, and use -i=false for no input"},
	{"a", "the standard streams are the caller's: redirect those that are not wanted, and use -i=false for no input"},
	{"restart", noDaemon},
	{"sig-proxy", "signals are always passed on to the command"},
	{"use-api-socket", "there is no docker socket to hand on; to give one, write -v /var/run/docker.sock:/var/run/docker.sock"},

	{"publish", noNetwork},
	{"p", noNetwork},
	{"publish-all", noNetwork},
	{"P", noNetwork},
	{"expose", noNetwork},
	{"ip", noNetwork},
	{"ip6", noNetwork},
	{"link", noNetwork},
	{"link-local-ip", noNetwork},
	{"mac-address", noNetwork},
	{"network-alias", noNetwork},
	{"net-alias", noNetwork},

	{"health-cmd", noHealth},
	{"health-interval", noHealth},
	{"health-retries", noHealth},
	{"health-start-interval", noHealth},
	{"health-start-period", noHealth},
	{"health-timeout", noHealth},
	{"no-healthcheck", "no health check of the image's is run anyway: leave it out"},

	{"log-driver", noLogs},
	{"log-opt", noLogs},

	{"volumes-from", noOthers + ": name the volumes with -v"},
	{"volume-driver", "volumes are directories on this machine"},
	{"storage-opt", "the container's own layer is a directory on this machine: limit it there, or use --tmpfs with a size"},

	{"device-cgroup-rule", "umiak can't take devices away again: name each with --device"},
	{"gpus", "name the devices with --device and mount the driver with -v"},
	{"runtime", "umiak is its own runtime; to use another one, see umiak bundle"},
	{"disable-content-trust", noTrust},

	{"kernel-memory", "kernels from 5.4 on have no such limit: --memory counts the kernel's memory too"},
	{"cpu-rt-period", "few kernels are built for real-time cgroups: use --ulimit rtprio=… and --cap-add SYS_NICE"},
	{"cpu-rt-runtime", "few kernels are built for real-time cgroups: use --ulimit rtprio=… and --cap-add SYS_NICE"},
}

var unsupportedWindows = [...][2]string{
	{"isolation", onWindows},
	{"cpu-count", onWindows + "; use --cpus"},
	{"cpu-percent", onWindows + "; use --cpus"},
	{"io-maxbandwidth", onWindows + "; use --device-read-bps and --device-write-bps"},
	{"io-maxiops", onWindows + "; use --device-read-iops and --device-write-iops"},
}

var unsupportedPodman = [...][2]string{
	{"arch", "use --platform"},
	{"os", "use --platform"},
	{"variant", "use --platform"},
	{"authfile", noPullAuth},
	{"creds", noPullAuth},
	{"cert-dir", "add the authority to the system's certificates"},
	{"tls-verify", "plain http is for loopback only; add the registry's authority to the system's certificates"},
	{"decryption-key", "encrypted images can't be read"},
	{"signature-policy", noTrust},
	{"retry", "umiak tries again by itself"},
	{"retry-delay", "umiak tries again by itself"},
	{"rmi", "remove the image afterwards with umiak rmi"},

	{"cgroup-conf", notNow + ": use the flags for single limits"},
	{"cgroups", noSystemd},
	{"conmon-pidfile", "there is no conmon: use --pidfile"},
	{"systemd", noSystemd + ": to run systemd inside, use --privileged, --tmpfs /run and --tmpfs /tmp"},
	{"sdnotify", noSystemd},
	{"init-ctr", noPods},
	{"pod", noPods},
	{"pod-id-file", noPods},
	{"replace", "no container outlives umiak: there is none to replace"},
	{"requires", noOthers},
	{"secret", "mount the file: -v ./secret:/run/secrets/NAME:ro"},
	{"init-path", "--init uses umiak itself"},

	{"gidmap", noUserNS},
	{"uidmap", noUserNS},
	{"subgidname", noUserNS},
	{"subuidname", noUserNS},
	{"hostuser", "write the line into a passwd file of your own and mount it"},
	{"group-entry", "--passwd adds podman's usual lines"},
	{"passwd-entry", "--passwd adds podman's usual lines"},

	{"health-log-destination", noHealth},
	{"health-max-log-count", noHealth},
	{"health-max-log-size", noHealth},
	{"health-on-failure", noHealth},
	{"health-startup-cmd", noHealth},
	{"health-startup-interval", noHealth},
	{"health-startup-retries", noHealth},
	{"health-startup-success", noHealth},
	{"health-startup-timeout", noHealth},

	{"no-hosts", "to keep the image's /etc/hosts is " + notNow},
	{"no-hostname", "to keep the image's /etc/hostname is " + notNow},
	{"hosts-file", "mount it: -v ./hosts:/etc/hosts"},
	{"image-volume", "what an image declares as volumes is in the container's own layer"},
	{"chrootdirs", "use -v"},
	{"env-merge", notNow + ": run the command through a shell, as in sh -c 'PATH=$PATH:/x …'"},
	{"personality", notNow + ": use setarch(8) inside"},
	{"rdt-class", notNow},
	{"seccomp-policy", "use --security-opt seccomp=FILE"},
	{"shm-size-systemd", noSystemd},
	{"preserve-fd", "use --preserve-fds N: descriptors 3 to N+2"},
}
