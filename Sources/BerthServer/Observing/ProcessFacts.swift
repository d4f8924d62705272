import BerthLink
import CBerthPosix
import Foundation

/// The process as the kernel sees it, for `/metrics`; the names are those that every Prometheus client has.
enum ProcessFacts {
    static func expose(into out: inout Exposition, startedAt: Int64) {
        var usage = rusage()
        if getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage) == 0 {
            func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }
            out.add("process_cpu_seconds_total", "counter", "", "", seconds(usage.ru_utime) + seconds(usage.ru_stime))
        }
        if let text = try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8) {
            let pages = text.split(separator: " ").compactMap { Double($0) }
            if pages.count > 1 {
                out.add("process_resident_memory_bytes", "gauge", "", "", pages[1] * Double(sysconf(Int32(_SC_PAGESIZE))))
            }
        }
        if let open = try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd") {
            out.add("process_open_fds", "gauge", "", "", Double(open.count))
        }
        var limit = rlimit()
        if getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 {
            out.add("process_max_fds", "gauge", "", "", Double(min(limit.rlim_cur, 1 << 53)))
        }
        out.add("process_start_time_seconds", "gauge", "", "", Double(startedAt) / 1000)
    }
}
