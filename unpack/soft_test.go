package unpack

// decision is what we do with a vector over which tools legitimately differ. Without reject or edit it is the tree of its model.
type decision struct {
	why     string
	reject  string                  // refused, the error says this
	edit    func(map[string]record) // how our tree differs from the model's
	skipped int                     // extended attributes we drop, and count
}

// same is for decisions that are the model's.
func same(why string) decision { return decision{why: why} }

func refuse(why, message string) decision { return decision{why: why, reject: message} }

func softDecisions() map[string]decision {
	return map[string]decision{
		"a-contiguous":          same("POSIX: type 7 is a regular file wherever contiguous ones do not exist"),
		"a-file-trailing-slash": same("the type says what it is; only v7 archives, without one, meant a directory"),
		"a-mtimes":              same("every time that fits the file system is kept, before 1970 and with nanoseconds"),
		"a-only-root-entry":     same("the image's root has attributes like any directory; podman and umoci agree"),
		"a-root-entry-twice":    same("the last layer's win, as for any directory"),
		"a-path-over-4096":      refuse("no program could open it by its path; the limit is an option", "limit MaxPath"),
		"d-too-big":             refuse("mknod would cut the number to another device", "no device 70000:1"),
		"e-empty-name":          refuse("it names the root, which only a directory may", "replace the root"),
		"e-fifo-parent":         refuse("within one layer a parent that is no directory is a mistake; tar fails too", "not a directory in the same layer"),
		"f-dir-with-size":       same("archive/tar's reading: the size of a directory counts for nothing"),
		"f-dumpdir":             refuse("a GNU incremental backup is no layer, and its data is no file", `unknown type 'D'`),
		"f-dup-dir-file":        same("within a layer the last entry of a name wins"),
		"f-empty-bytes":         same("an empty layer; its digest was verified"),
		"f-hardlink-with-size":  same("the size of a link counts for nothing"),
		"f-no-eof":              same("digests tell a cut archive from one without end marker"),
		"f-one-zero-block":      same("likewise"),
		"f-truncated-header":    refuse("cut within a block: no writer stops there", "unexpected EOF"),
		"f-sparse-gnu-old":      same("archive/tar reads it; holes count as bytes against MaxBytes"),
		"f-sparse-pax10": {why: "archive/tar expands it, where the model takes the raw data", edit: func(want map[string]record) {
			r := want["sparse-pax10"]
			r.Size, r.SHA256 = 65536, "d99dc4a526fbaa815873e2b08492dc4a0986467009550a445b608e9cf8df721e"
			want["sparse-pax10"] = r
			mtime := int64(1600000000e9)
			want["after"] = record{Path: "after", Type: "f", Mode: "0644", MTime: &mtime, Size: 1,
				SHA256: "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"}
		}},
		"h-cross-layer":             same("the target is in the tree by then"),
		"h-different-meta":          same("a link's entry describes no inode: the file keeps what its own entry gave it"),
		"h-through-symlink-dir":     same("parents resolve as in a chroot, for targets too"),
		"h-to-self":                 same("nothing to do"),
		"h-to-whited-out":           refuse("the target is not there", "target of hard link \"a\" is not there"),
		"m-attestation-entry":       same("package image's choice; the harness takes the manifest for linux"),
		"m-nested-index":            same("package image's choice; the harness follows it"),
		"m-sha512-layer":            same("package digest's choice; the harness knows both"),
		"m-zero-layers":             same("an empty root"),
		"o-as-dir":                  same("the name makes the marker, whatever its type"),
		"o-nonexistent-dir":         same("a marker hides, it creates nothing"),
		"o-on-symlink":              same("parents resolve as in a chroot"),
		"o-xattr-overlay":           {why: "would act, the tree being a lower layer of an overlay", skipped: 1, edit: withoutXattr("dir")},
		"o-xattr-user-overlay":      {why: "likewise for overlays of users", skipped: 1, edit: withoutXattr("dir")},
		"t-symlink-parent-dangling": same("as a chroot with mkdir -p"),
		"t-dirs-below-file": {why: "in an overlay the upper layer's directory hides the file", edit: func(want map[string]record) {
			mtime := int64(1600000000e9)
			want["x"] = record{Path: "x", Type: "d", Implied: true}
			want["x/y"] = record{Path: "x/y", Type: "d", Implied: true}
			want["x/y/z"] = record{Path: "x/y/z", Type: "f", Mode: "0644", MTime: &mtime, Size: 1,
				SHA256: "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"}
		}},
		"w-as-char":            same("the name makes the whiteout, whatever its type"),
		"w-as-dir":             same("likewise"),
		"w-as-hardlink":        same("likewise"),
		"w-as-symlink":         same("likewise"),
		"w-aufs-meta":          same("books of AUFS, dropped"),
		"w-aufs-plnk-hardlink": refuse("pseudo links died with AUFS; the file would be lost silently", "is not there"),
		"w-char00":             same("by the OCI spec a device; under an overlay it hides the file, as with docker"),
		"w-double-prefix":      same("reserved for AUFS, dropped"),
		"w-longest":            same("the whiteout itself is never a file"),
		"w-missing-parent":     same("a whiteout creates nothing"),
		"w-parent-then-child":  same("likewise"),
		"x-libarchive":         same("as docker: SCHILY records only"),
		"x-selinux":            {why: "labels are the host's policy", skipped: 1, edit: withoutXattr("f")},
		"x-symlink":            same("set on the link itself"),
		"x-symlink-user":       {why: "the kernel holds no user.* on links", skipped: 1, edit: withoutXattr("s")},
		"x-unsupported-ns": {why: "the kernel holds no such namespace", skipped: 1, edit: func(want map[string]record) {
			delete(want["f"].Xattrs, "bogus.ns")
		}},
		"z-foreign":               same("package image's choice; here a layer like any other"),
		"z-gzip-trailing-garbage": refuse("nothing honest writes it, and other readers would see another layer", "data after the end"),
		"z-gzip-trailing-zeros":   same("padding, as tapes have it; gzip(1) is silent about it too"),
		"z-mislabelled-plain":     same("the bytes say what they are; the digest says they are the right ones"),
		"z-xz":                    refuse("no layer media type has xz", "compressed with xz"),
	}
}

func withoutXattr(name string) func(map[string]record) {
	return func(want map[string]record) {
		r := want[name]
		r.Xattrs = nil
		want[name] = r
	}
}
