# cmake --install: library, headers, find_package(anemone), pkg-config, program, licence.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

install(TARGETS anemone EXPORT anemoneTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
if(TARGET anemone_cli)
  install(TARGETS anemone_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
install(DIRECTORY include/anemone DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(EXPORT anemoneTargets NAMESPACE anemone:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/anemone)

get_property(ANEMONE_LINK GLOBAL PROPERTY ANEMONE_LINK)
configure_package_config_file(cmake/anemoneConfig.cmake.in ${PROJECT_BINARY_DIR}/anemoneConfig.cmake
                              INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/anemone)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/anemoneConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/anemoneConfig.cmake ${PROJECT_BINARY_DIR}/anemoneConfigVersion.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/anemone)
