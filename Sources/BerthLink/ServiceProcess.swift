import CBerthPosix

/// The first steps of a process of ours.
public enum ServiceProcess {
    /// Prepares the process; called first thing in `main`, on its only thread.
    ///
    /// A service (`serve`, `city`) holds secrets and runs for months. It ignores closed pipes, makes files that are its owner's alone, leaves no
    /// core, and writes no crash report.
    public static func begin(isService: Bool) {
        berth_open_standard_descriptors()
        guard isService else { return }
        berth_restart_without_crash_report(CommandLine.unsafeArgv)
        berth_ignore_closed_pipes()
        berth_keep_secrets()
    }

    /// Raises the soft limit of descriptors to the hard limit.
    /// - Returns: the limits that hold now.
    public static func raiseDescriptorLimit() -> (soft: UInt64, hard: UInt64) {
        let soft = berth_raise_descriptor_limit()
        return (soft, berth_hard_descriptor_limit())
    }
}
