import ArgumentParser
@main struct Gateway: ParsableCommand { func run() {} }
